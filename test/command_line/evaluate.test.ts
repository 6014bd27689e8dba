import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { EvaluationReport } from '../../src/evaluation/evaluation_report.ts';
import { partsFolder } from '../parts.ts';
import { runCli } from './run_cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-evaluate-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const withoutIntervals = (text: string) => text.replace(/\[[^\]]*\]/g, '');

describe('okng evaluate', () => {
  it('measures a set in the folders of MVTec: table, JSON and a page', async () => {
    const json = join(folder, 'report.json');
    const html = join(folder, 'report.html');
    const temporary = join(folder, 'tmp');
    mkdirSync(temporary);
    const { code, stdout, stderr } = await runCli(
      ['evaluate', '--extractor', 'embedded', '--json', json, '--html', html, partsFolder],
      { TMPDIR: temporary },
    );
    expect(stderr).toContain('parts: test 23/23\n');
    expect(code).toBe(0);
    expect(withoutIntervals(stdout)).toMatch(/parts +embedded_filter_bank +0 +14 +8\/15 +1\.000/);

    const report = JSON.parse(readFileSync(json, 'utf8')) as EvaluationReport;
    const [set] = report.sets;
    expect(set).toMatchObject({
      name: 'parts',
      counts: { memory: 14, held_out: 0, ok: 8, ng: 15 },
      threshold: { from: 'leave_one_out', rule: expect.stringContaining('14 leave-one-out scores') },
    });
    expect(set?.metrics.image_auroc.value).toBeGreaterThanOrEqual(0.95);
    expect(set?.metrics.pixel_auroc.value).toBeGreaterThanOrEqual(0.9);
    expect(set?.metrics.escape_rate.value).toBeLessThanOrEqual(0.1);
    expect(set?.kinds.map(({ kind }) => kind)).toEqual(['burr', 'dent', 'missing_hole', 'scratch', 'stain']);
    expect(set?.pictures).toHaveLength(23);
    expect(Object.keys(set?.ms_per_picture ?? {})).toContain('total');
    // What is shown as missed is what the threshold misses.
    const missed = set?.pictures.filter(({ kind, score }) => kind !== 'good' && score < set.threshold.value) ?? [];
    expect(set?.misses.map(({ file }) => file).sort()).toEqual(missed.map(({ file }) => file).sort());
    expect(readFileSync(html, 'utf8')).toContain('</html>');
    // The memories it fitted are gone, and ONNX Runtime's telemetry has left nothing either.
    expect(readdirSync(temporary)).toEqual([]);
  });

  it('takes K pictures by seed, and the others choose the threshold', async () => {
    const json = join(folder, 'shots.json');
    const run = async () => {
      await runCli([
        'evaluate',
        '--extractor',
        'embedded',
        '--k-shot',
        '4',
        '--seeds',
        '2',
        '--json',
        json,
        partsFolder,
      ]);
      return (JSON.parse(readFileSync(json, 'utf8')) as EvaluationReport).sets;
    };
    const [first, second] = await run();
    for (const set of [first, second]) {
      expect(set).toMatchObject({
        counts: { memory: 4, held_out: 10 },
        threshold: { from: 'held_out', rule: '99th percentile of 10 held-out OK pictures' },
        warnings: [expect.stringContaining('Only 4 good pictures')],
      });
    }
    const scores = (set: typeof first) => set?.pictures.map(({ score }) => score);
    expect(scores(second)).not.toEqual(scores(first));
    const [again] = await run();
    expect(scores(again)).toEqual(scores(first));
  });

  it('splits plain ok and ng folders by the seed', async () => {
    const plain = join(folder, 'plain');
    cpSync(join(partsFolder, 'train/good'), join(plain, 'ok'), { recursive: true });
    cpSync(join(partsFolder, 'test/missing_hole'), join(plain, 'ng'), { recursive: true });
    const json = join(folder, 'plain.json');
    const { code } = await runCli(['evaluate', '--extractor', 'embedded', '--json', json, plain]);
    expect(code).toBe(0);
    const [set] = (JSON.parse(readFileSync(json, 'utf8')) as EvaluationReport).sets;
    expect(set).toMatchObject({ name: 'plain', counts: { memory: 7, ok: 7, ng: 3 } });
    expect(set?.metrics.pixel_auroc).toEqual({ value: null, interval: null });
  });

  it('says what is wrong with a folder', async () => {
    const empty = join(folder, 'empty');
    mkdirSync(join(empty, 'train/good'), { recursive: true });
    mkdirSync(join(empty, 'test'));
    for (const [path, sentence] of [
      [join(folder, 'nothing'), /"[^"]*nothing" is no set of pictures: it needs train\/good/],
      [empty, /The set empty has no good pictures/],
    ] as const) {
      const { code, stderr } = await runCli(['evaluate', path]);
      expect(stderr).toMatch(sentence);
      expect(code).toBe(1);
    }
    const { code } = await runCli(['evaluate', '--k-shot', '0', partsFolder]);
    expect(code).toBe(2);
    expect(existsSync(join(folder, 'nothing'))).toBe(false);
  });
});
