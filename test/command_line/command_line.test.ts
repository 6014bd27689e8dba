import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { partsFolder, partsMmPerPx } from '../parts.ts';
import { runCli } from './run_cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-cli-'));
const modelsDir = join(folder, 'models');
const model = ['--role', 'flange', '--roi', 'top', '--models-dir', modelsDir];
const parts = (name: string) => join(partsFolder, name);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('okng', () => {
  it('explains itself: commands, settings, exit codes', async () => {
    const { code, stdout } = await runCli(['--help']);
    expect(code).toBe(0);
    for (const word of ['serve', 'fit', 'infer', 'calibrate', 'BDI_MODELS_DIR', 'Exit codes']) {
      expect(stdout).toContain(word);
    }
    const fit = await runCli(['fit', '--help']);
    expect(fit.code).toBe(0);
    expect(fit.stdout).toMatch(/--role <role>[\s\S]*--mm-per-px <n>/);
  });

  it.each([
    [['polish'], /unknown command 'polish'/],
    [['fit', '--roi', 'top', '--mm-per-px', '1', 'x.png'], /required option '--role <role>'/],
    [['fit', ...model, '--mm-per-px', '0', 'x.png'], /must be a number above 0/],
    [['fit', ...model, '--mm-per-px', '1'], /missing required argument 'paths'/],
    [['calibrate', ...model, '--ok', 'x', '--score-percentile', '101'], /from 0 to 100/],
  ])('ends with 2 when the command line is not understood: %j', async (args, sentence) => {
    const { code, stderr } = await runCli(args);
    expect(stderr).toMatch(sentence);
    expect(code).toBe(2);
  });

  it('ends with 78 and the whole list when the settings cannot be used', async () => {
    const { code, stderr } = await runCli(['infer', ...model, 'x.png'], { CORESET_RATE: '2', BDI_TYPO: '1' });
    expect(code).toBe(78);
    expect(stderr).toMatch(/CORESET_RATE/);
    expect(stderr).toMatch(/BDI_TYPO/);
  });

  it('says so, on stderr, when a setting is ignored', async () => {
    const { stderr } = await runCli(['infer', ...model, 'x.png'], { EXTRACTOR: 'embedded', INPUT_SIZE: '448' });
    expect(stderr).toContain('INPUT_SIZE 448 is ignored');
  });
});

describe('fit, infer and calibrate', () => {
  beforeAll(async () => {
    const fit = await runCli(['fit', ...model, '--mm-per-px', String(partsMmPerPx), parts('train/good')]);
    expect(fit.stderr).not.toContain('okng:');
    expect(fit.stdout).toBe('Fitted flange / top with embedded_filter_bank: 14 pictures, 14336 patches, 287 kept.\n');
    // Not a terminal: plain lines, no bar, and none of it on stdout.
    expect(fit.stderr).toContain('pictures 14/14\n');
    expect(fit.stderr).toContain('coreset 287/287\n');
    expect(fit.code).toBe(0);
  });

  const scoresFile = async (name: string, kinds: readonly string[]) => {
    const { stdout } = await runCli(['infer', ...model, '--json', ...kinds.map(parts)]);
    const path = join(folder, name);
    writeFileSync(path, stdout);
    return path;
  };

  it('have no verdict before calibration: 4, and one JSON object per line', async () => {
    const { code, stdout } = await runCli(['infer', ...model, '--json', parts('calibration/good')]);
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(rows).toHaveLength(readdirSync(parts('calibration/good')).length);
    expect(rows[0]).toMatchObject({ threshold: null, decision: null, regions: [] });
    expect(code).toBe(4);
  });

  it('calibrate from the lines of infer, then tell good (0) from bad (3) and write heatmaps', async () => {
    const ok = await scoresFile('ok.jsonl', ['calibration/good']);
    const bad = readdirSync(parts('calibration')).filter((kind) => kind !== 'good');
    const ng = await scoresFile(
      'ng.jsonl',
      bad.map((kind) => `calibration/${kind}`),
    );
    const calibration = await runCli(['calibrate', ...model, '--ok', ok, '--ng', ng]);
    expect(calibration.stdout).toMatch(/^Threshold 0\.\d{4} from 8 OK .* and 5 NG scores/);
    expect(calibration.code).toBe(0);

    const good = await runCli(['infer', ...model, parts('test/good')]);
    expect(good.code).toBe(0);
    expect(good.stdout).toMatch(/^OK +0\.\d{4} {2}threshold 0\.\d{4} {2}.*\.jpg/);

    const heatmaps = join(folder, 'heatmaps');
    const scratch = await runCli(['infer', ...model, '--heatmap-dir', heatmaps, parts('test/scratch')]);
    expect(scratch.code).toBe(3);
    expect(scratch.stdout).toMatch(/^NG .* mm² at \d+,\d+/);
    const [first] = readdirSync(heatmaps);
    expect(first).toMatch(/_heatmap\.png$/);
    expect(
      readFileSync(join(heatmaps, first as string))
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG');

    const refit = await runCli(['fit', ...model, '--mm-per-px', '0.1', '--memory-fit', parts('test/good')]);
    expect(refit.stdout).toContain('calibrate again');
  });

  it('take scores as a JSON list or as lines, and name the line that is none', async () => {
    const list = join(folder, 'list.json');
    writeFileSync(list, '[10, 11, 13]');
    const { stdout } = await runCli(['calibrate', ...model, '--json', '--ok', list]);
    expect(JSON.parse(stdout)).toMatchObject({ threshold: 12.96, n_ok: 3, n_ng: 0 });
    const lines = join(folder, 'lines.txt');
    writeFileSync(lines, '10\n\n11\nhigh\n');
    const bad = await runCli(['calibrate', ...model, '--ok', lines]);
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(/^okng: .*lines\.txt.* line 4: a finite number/);
  });

  it.each([
    ['a picture that is none', () => [join(folder, 'list.json')], /list\.json/],
    ['a path that is not there', () => [join(folder, 'absent.png')], /absent\.png/],
  ])('end with 1 and a sentence for %s', async (_, paths, sentence) => {
    writeFileSync(join(folder, 'list.json'), '[1]');
    const { code, stderr } = await runCli(['infer', ...model, ...paths()]);
    expect(code).toBe(1);
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/ {4}at /);
  });

  it('end with 1 when nothing was fitted, and say what to do', async () => {
    const [picture] = readdirSync(parts('test/good'));
    const { code, stderr } = await runCli([
      'infer',
      ...['--role', 'x', '--roi', 'y', '--models-dir', modelsDir],
      join(parts('test/good'), picture as string),
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/memory not fitted/);
  });
});
