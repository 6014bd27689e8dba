import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { downloadWeights } from '../../src/downloads/download_weights.ts';
import { knownDownload, rememberDownload } from '../../src/downloads/known_downloads.ts';
import { publishedWeights } from '../../src/downloads/published_weights.ts';
import { file, plain, serve } from './file_server.ts';

const weights = publishedWeights('dinov2-small');
const now = new Date('2026-11-21T10:00:00Z');
const content = Buffer.from('weights');
const sha256 = createHash('sha256').update(content).digest('hex');
const known = { sha256, bytes: content.length, firstDownloadedAtUtc: now.toISOString() };

let modelsDir: string;

beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-weights-'));
});

afterEach(() => rm(modelsDir, { recursive: true, force: true }));

const recordPath = () => join(modelsDir, 'extractors', 'known_downloads.json');

describe('downloadWeights', () => {
  it('records the first hash, whichever mirror it comes from, and holds every other mirror to it', async () => {
    const first = await serve(file(content));
    const path = join(modelsDir, 'extractors', weights.folder, 'model.safetensors');
    expect(await downloadWeights({ weights, modelsDir, mirror: `${first.origin}/hf/`, now })).toEqual({
      bytes: content.length,
      sha256,
      resumed: 0,
      path,
      sameAsUtc: null,
    });
    expect(first.seen[0]?.url).toBe('/hf/facebook/dinov2-small/resolve/main/model.safetensors');
    expect(JSON.parse(await readFile(recordPath(), 'utf8'))).toEqual({
      '/facebook/dinov2-small/resolve/main/model.safetensors': {
        sha256,
        bytes: content.length,
        first_downloaded_at_utc: '2026-11-21T10:00:00.000Z',
      },
    });
    expect(await readdir(join(modelsDir, 'extractors'))).toEqual(['known_downloads.json', weights.folder]);

    const same = await serve(file(content));
    const later = new Date('2027-01-01T00:00:00Z');
    expect(await downloadWeights({ weights, modelsDir, mirror: same.origin, now: later })).toMatchObject({
      sameAsUtc: '2026-11-21T10:00:00.000Z',
    });

    const changed = await serve(file(Buffer.from('WEIGHTS')));
    await expect(downloadWeights({ weights, modelsDir, mirror: changed.origin, now: later })).rejects.toMatchObject({
      code: 'download_changed',
      message: expect.stringMatching(
        /first downloaded \(2026-11-21.*delete the entry '\/facebook\/dinov2-small\/resolve\/main\/model\.safetensors' from extractors\/known_downloads\.json/,
      ),
    });
    expect(await readFile(path)).toEqual(content);
    expect(await readdir(join(modelsDir, 'extractors', weights.folder))).toEqual(['model.safetensors']);
    expect(await knownDownload(modelsDir, weights.path)).toEqual(known);

    await writeFile(recordPath(), '{}');
    expect(await downloadWeights({ weights, modelsDir, mirror: changed.origin, now: later })).toMatchObject({
      sameAsUtc: null,
    });
    expect(await readFile(path, 'utf8')).toBe('WEIGHTS');
  });

  it('goes where it is told', async () => {
    const { origin } = await serve(file(content));
    const target = join(modelsDir, 'elsewhere.safetensors');
    expect(await downloadWeights({ weights, modelsDir, mirror: origin, target, now })).toMatchObject({ path: target });
    expect(await readFile(target)).toEqual(content);
  });

  it('takes no web page for weights, and records nothing then', async () => {
    const { origin } = await serve(plain(200, {}, '<html>Please log in</html>'));
    await expect(downloadWeights({ weights, modelsDir, mirror: origin, now })).rejects.toMatchObject({
      code: 'download_failed',
    });
    expect(await readdir(join(modelsDir, 'extractors'))).toEqual([weights.folder]);
    expect(await knownDownload(modelsDir, weights.path)).toBeUndefined();
  });

  it('trusts nothing while the record is damaged', async () => {
    const { origin, seen } = await serve(file(content));
    await mkdir(join(modelsDir, 'extractors'));
    await writeFile(recordPath(), '{');
    await expect(downloadWeights({ weights, modelsDir, mirror: origin, now })).rejects.toMatchObject({
      code: 'damaged_file',
    });
    expect(seen).toHaveLength(0);
    expect(await readFile(recordPath(), 'utf8')).toBe('{');
  });
});

describe('known downloads', () => {
  it('keep the others', async () => {
    await rememberDownload(modelsDir, '/a', known);
    await rememberDownload(modelsDir, '/b', { ...known, bytes: 9 });
    await rememberDownload(modelsDir, '/a', { ...known, bytes: 8 });
    expect(await knownDownload(modelsDir, '/a')).toEqual({ ...known, bytes: 8 });
    expect(await knownDownload(modelsDir, '/b')).toEqual({ ...known, bytes: 9 });
    expect(await knownDownload(modelsDir, '/c')).toBeUndefined();
    expect(await knownDownload(modelsDir, 'constructor')).toBeUndefined();
    expect(await readdir(join(modelsDir, 'extractors'))).toEqual(['known_downloads.json']);
  });

  it.each([
    '',
    '[]',
    'null',
    '{"/a": null}',
    `{"/a": {"sha256": "${sha256.toUpperCase()}", "bytes": 7, "first_downloaded_at_utc": ""}}`,
    `{"/a": {"sha256": "${sha256}", "bytes": "7", "first_downloaded_at_utc": ""}}`,
    `{"/a": {"sha256": "${sha256}", "bytes": 7}}`,
  ])('are damaged when they read %j', async (text) => {
    await mkdir(join(modelsDir, 'extractors'));
    await writeFile(recordPath(), text);
    await expect(knownDownload(modelsDir, '/a')).rejects.toMatchObject({
      code: 'damaged_file',
      message: expect.not.stringContaining(modelsDir),
    });
  });
});
