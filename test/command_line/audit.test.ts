import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { auditLines, chainA, chainB, handMade, writeAudit } from '../audit/chains.ts';
import { partsFolder, partsMmPerPx } from '../parts.ts';
import { runCli } from './run_cli.ts';

let modelsDir = '';
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-cli-audit-'));
});
afterEach(() => rmSync(modelsDir, { recursive: true, force: true }));

const verify = (...args: readonly string[]) => runCli(['audit', 'verify', ...args]);

describe('okng audit verify', () => {
  it('ends with 0 for a whole audit, and counts it', async () => {
    const folder = writeAudit(modelsDir, handMade(chainA, [2, 1]));
    const { code, stdout } = await verify('--models-dir', modelsDir);
    expect(stdout).toMatch(/^Chain \S+: files 2, lines 7, stopped; head [0-9a-f]{64}\n/);
    expect(stdout).toContain('Lines: 7 (1 continued, 1 rotated, 1 start, 1 stop, 3 verdict). All of them');
    expect(code).toBe(0);
    const json = await verify(folder, '--json');
    expect([json.code, JSON.parse(json.stdout)]).toMatchObject([0, { lines: 7, found: 0 }]);
  });

  it('ends with 1 for a changed line and names it', async () => {
    const [[name, text]] = Object.entries(handMade(chainA, [2])) as [[string, string]];
    const folder = writeAudit(modelsDir, { [name]: text.replace('"score":0.5', '"score":0.4') });
    const { code, stdout } = await verify(folder);
    expect(stdout).toContain(`CHANGED ${name}, line 2: Line 2 of the chain was changed`);
    expect(stdout).toContain('Found: 1.');
    expect(code).toBe(1);
    const json = await verify(folder, '--json');
    expect([json.code, JSON.parse(json.stdout).findings]).toMatchObject([
      1,
      [{ problem: 'changed', file: name, line: 2 }],
    ]);
  });

  it('looks for heads that were kept, in several folders', async () => {
    const archive = mkdtempSync(join(modelsDir, 'archive-'));
    const folders = [writeAudit(modelsDir, handMade(chainB, [1])), writeAudit(archive, handMade(chainA, [1]))];
    const { chains } = JSON.parse((await verify(...folders, '--json')).stdout);
    const heads = chains.flatMap(({ head }: { head: { hash: string } }) => ['--head', head.hash]);
    expect((await verify(...folders, ...heads)).code).toBe(0);
    const alone = await verify(folders[0] as string, ...heads);
    expect([alone.code, alone.stdout]).toEqual([1, expect.stringContaining('MISSING_HEAD No line has the hash')]);
    expect((await verify('--head', 'x')).code).toBe(2);
  });

  it('does not take a folder that is not there for a whole audit', async () => {
    const { code, stderr } = await verify(join(modelsDir, 'nowhere'));
    expect([code, stderr]).toEqual([1, expect.stringContaining('There is no folder')]);
  });
});

describe('a command that works in its own process', () => {
  it('leaves a chain of its own', async () => {
    const good = join(partsFolder, 'train/good');
    const ids = ['--role', 'flange', '--roi', 'top', '--models-dir', modelsDir, '--mm-per-px', String(partsMmPerPx)];
    const environment = { BDI_AUDIT: '1', EXTRACTOR: 'embedded' };
    const fit = await runCli(['fit', good, ...ids], environment);
    expect(fit.code, fit.stderr).toBe(0);
    const infer = await runCli(['infer', join(partsFolder, 'test/scratch'), ...ids], environment);
    expect([0, 4], infer.stderr).toContain(infer.code);
    const verdicts = new Array(readdirSync(join(partsFolder, 'test/scratch')).length).fill('verdict');
    expect(auditLines(modelsDir).map(({ kind }) => kind)).toEqual([
      ...['start', 'fit', 'stop'],
      ...['start', 'seen', ...verdicts, 'stop'],
    ]);
    expect(auditLines(modelsDir).find(({ kind }) => kind === 'fit')).toMatchObject({
      request_id: null,
      who: null,
      role_id: 'flange',
    });
    const other = mkdtempSync(join(tmpdir(), 'okng-cli-audit-'));
    for (const more of [['--dry-run'], []]) {
      const imported = await runCli(['import', modelsDir, '--models-dir', other, ...more], environment);
      expect(imported.code, imported.stderr).toBe(0);
    }
    expect(auditLines(other)).toMatchObject([
      { kind: 'start' },
      { kind: 'import', error: null, models: 1, scales: 1, pictures: 0, refused: 0 },
      { kind: 'stop' },
    ]);
    rmSync(other, { recursive: true });
    expect((await verify('--models-dir', modelsDir)).code).toBe(0);
    const [name] = readdirSync(join(modelsDir, 'audit')) as [string];
    const path = join(modelsDir, 'audit', name);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"pictures":', '"pictures":1'));
    expect((await verify('--models-dir', modelsDir)).code).toBe(1);
  });
});
