import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
    [['calibrate', ...model, '--ok', 'x', '--score-percentile', '0x10'], /from 0 to 100/],
    [['calibrate', ...model, '--ok', 'x', '--area-mm2-thr', '-1'], /at least 0/],
    [['fit', ...model, '--mm-per-px', '0x1', 'x.png'], /must be a number above 0/],
    [['fit', ...model, '--mm-per-px', '1e999', 'x.png'], /must be a number above 0/],
    [['infer', ...model, '--recipe', 'Last', 'x.png'], /recipe_id "last" is reserved/],
    [['infer', ...model, '--recipe', 'a/b', 'x.png'], /recipe_id "a\/b" is not usable/],
    [['infer', ...model, '--role', '', 'x.png'], /role_id must not be empty/],
    [['infer', ...model, '--roi', ' ', 'x.png'], /roi_id must not be empty/],
    [['infer', ...model, '--model-key', 'k'.repeat(201), 'x.png'], /model_key has 201 characters; at most 200/],
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

  it('takes the names of a model as a request does: recipes in any case, empty for absent', async () => {
    const [picture] = readdirSync(parts('test/good'));
    const { stderr } = await runCli([
      ...['infer', ...model, '--recipe', ' Line1 ', '--model-key', '', '--mm-per-px', '1E-01'],
      join(parts('test/good'), picture as string),
    ]);
    expect(stderr).toMatch(/memory not fitted .* model_key "top" in recipe "line1"/);
    const unnamed = await runCli(['infer', ...model, '--recipe', '', 'x.png']);
    expect(unnamed.stderr).toContain('Recipe "default" has no mm_per_px yet');
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
    expect(fit.stdout).toMatch(
      /^Fitted flange \/ top with embedded_filter_bank: 14 pictures, 14336 patches, 287 kept\.\nThe parts lie alike: .* weight 0\.\d\d\.\n$/,
    );
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
    expect(readdirSync(heatmaps)).toEqual(readdirSync(parts('test/scratch')).map((name) => `${name}_heatmap.png`));
    expect(
      readFileSync(join(heatmaps, first as string))
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG');

    const refit = await runCli(['fit', ...model, '--mm-per-px', '0.1', '--memory-fit', parts('test/good')]);
    expect(refit.stdout).toContain('calibrate again');
  });

  it('go on after a bad file, name it on stderr, and end with 1', async () => {
    const broken = join(folder, 'broken.png');
    writeFileSync(broken, 'no picture');
    const absent = join(folder, 'absent.png');
    const [good = '', other = ''] = readdirSync(parts('test/good')).map((name) => join(parts('test/good'), name));
    const { code, stdout, stderr } = await runCli(['infer', ...model, good, broken, absent, other]);
    expect(stdout.trim().split('\n')).toEqual([expect.stringContaining(good), expect.stringContaining(other)]);
    for (const name of [broken, absent]) expect(stderr).toMatch(new RegExp(`^okng: .*${name}`, 'm'));
    expect(code).toBe(1);
  });

  it.skipIf(process.platform === 'win32')('print each row before the next picture is looked at', async () => {
    const pipe = join(folder, 'pipe.jpg');
    execFileSync('mkfifo', [pipe]);
    const [good = ''] = readdirSync(parts('test/good')).map((name) => join(parts('test/good'), name));
    let fed = false;
    const { stdout } = await runCli(['infer', ...model, good, pipe], {}, (soFar) => {
      if (!soFar.includes('\n') || fed) return;
      fed = true;
      // The process waits for this picture; without the first row it would do so for ever.
      copyFileSync(good, `${pipe}.bytes`);
      execFileSync('sh', ['-c', 'cat "$1" > "$2"', 'sh', `${pipe}.bytes`, pipe]);
    });
    expect(stdout.trim().split('\n')).toHaveLength(2);
  });

  it('keep the heatmaps of pictures of one name apart', async () => {
    const set = join(folder, 'set');
    const [picture = ''] = readdirSync(parts('test/good')).map((name) => join(parts('test/good'), name));
    for (const kind of ['good', 'scratch']) {
      mkdirSync(join(set, kind), { recursive: true });
      for (const name of ['01.jpg', '01.png']) copyFileSync(picture, join(set, kind, name));
    }
    const heatmaps = join(folder, 'apart');
    await runCli(['infer', ...model, '--heatmap-dir', heatmaps, join(set, 'good'), join(set, 'scratch')]);
    expect((readdirSync(heatmaps, { recursive: true }) as string[]).sort()).toEqual([
      'good',
      join('good', '01.jpg_heatmap.png'),
      join('good', '01.png_heatmap.png'),
      'scratch',
      join('scratch', '01.jpg_heatmap.png'),
      join('scratch', '01.png_heatmap.png'),
    ]);
  });

  it('promise an overkill, review what lies between, and start from leave-one-out scores', async () => {
    const scores = join(folder, 'many.json');
    writeFileSync(scores, JSON.stringify(Array.from({ length: 59 }, (_, i) => 0.01 + i / 10_000)));
    const promised = await runCli(['calibrate', ...model, '--ok', scores, '--max-overkill', '0.05']);
    expect(promised.stdout).toContain('Promise: at most 5 % of good parts judged NG, with confidence 95 %');
    const tooMuch = await runCli(['calibrate', ...model, '--ok', scores, '--max-overkill', '0.01']);
    expect(tooMuch.code).toBe(1);
    expect(tooMuch.stderr).toContain('that takes 299');

    const left = await runCli(['calibrate', ...model, '--leave-one-out', '--json']);
    const { threshold, ok_scores_from: from, n_ok: count } = JSON.parse(left.stdout) as Record<string, number>;
    expect([from, count]).toEqual(['leave_one_out', 8]);
    await runCli([
      'calibrate',
      ...model,
      '--leave-one-out',
      '--review-threshold',
      String((threshold as number) / 1000),
    ]);
    const good = await runCli(['infer', ...model, '--explain', join(parts('test/good'), '01.jpg')]);
    expect(good.stdout).toMatch(/^REVIEW 0\.\d{4} .*\n {5}patch at \d+,\d+ is .* nearest is .*\.jpg at \d+,\d+/);

    for (const args of [[], ['--ok', scores, '--leave-one-out']]) {
      const { code, stderr } = await runCli(['calibrate', ...model, ...args]);
      expect(code).toBe(2);
      expect(stderr).toContain('either --ok <file> or --leave-one-out');
    }
  });

  it('take scores as a JSON list or as lines, and name the line that is none', async () => {
    const list = join(folder, 'list.json');
    writeFileSync(list, '[10, 11, 13]');
    const { stdout } = await runCli(['calibrate', ...model, '--json', '--ok', list]);
    expect(JSON.parse(stdout)).toMatchObject({ threshold: 12.96, n_ok: 3, n_ng: 0 });
    const smallest = await runCli(['calibrate', ...model, '--json', '--area-mm2-thr', '0', '--ok', list]);
    expect(JSON.parse(smallest.stdout)).toMatchObject({ area_mm2_thr: 0 });
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
