import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { modelPlace } from '../../src/store/places.ts';
import { modelDestination, writeModel, writeSamples } from '../../src/store/takeover.ts';
import { power, spendPower } from './power.ts';
import { filesBelow, predecessorIndex, predecessorNpz, writeFiles } from './predecessor_files.ts';

spendPower();

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-takeover-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Does the work with a disk that fails after so many changes; tells whether all was done. */
async function until(changes: number, work: () => Promise<void>): Promise<boolean> {
  power.left = changes;
  const done = await work().then(
    () => true,
    () => false,
  );
  power.left = Number.POSITIVE_INFINITY;
  return done;
}

/** Generation of each file that is there, temps left out. */
function generations(names: readonly string[]) {
  const files = filesBelow(folder);
  return names.map((name) => {
    const content = files[name];
    if (content === undefined) return '-';
    return [0, 1].find((turn) => content === Buffer.from(bytesOf(name, turn)).toString('base64')) ?? 'other';
  });
}

const calibration = (turn: number) => Buffer.from(JSON.stringify({ threshold: turn + 1 }));
const bytesOf = (name: string, turn: number) =>
  name.endsWith('.npz') ? predecessorNpz(turn) : name.endsWith('.faiss') ? predecessorIndex(turn) : calibration(turn);
const names = ['m.npz', 'm_index.faiss', 'm_calib.json'];
const files = (turn: number) => ({
  npz: predecessorNpz(turn),
  index: predecessorIndex(turn),
  calibration: calibration(turn),
});

describe('writeModel', () => {
  it.each([
    ['over another model', true],
    ['where nothing is', false],
  ])('leaves no index or calibration of another memory wherever the power fails: %s', async (_, over) => {
    const place = modelPlace(folder, [], 'm');
    const seen = new Set<string>();
    for (let changes = 0; ; changes++) {
      rmSync(folder, { recursive: true });
      writeFiles(folder, over ? Object.fromEntries(names.map((name) => [name, bytesOf(name, 0)])) : { '.keep': '' });
      const done = await until(changes, () => writeModel(folder, place, files(1)));
      const [npz, ...beside] = generations(names);
      for (const generation of beside) expect(['-', npz], `after ${changes} changes`).toContain(generation);
      seen.add(generations(names).join(' '));
      if (done) break;
      // Doing it again completes it.
      await writeModel(folder, place, files(1));
      expect(generations(names)).toEqual([1, 1, 1]);
    }
    expect([...seen]).toEqual(
      over ? ['0 0 0', '0 - 0', '0 - -', '1 - -', '1 1 -', '1 1 1'] : ['- - -', '1 - -', '1 1 -', '1 1 1'],
    );
  });

  it('takes the calibration of the old memory away when none comes', async () => {
    const place = modelPlace(folder, [], 'm');
    await writeModel(folder, place, files(0));
    await writeModel(folder, place, { ...files(1), calibration: undefined });
    expect(generations(names)).toEqual([1, 1, '-']);
  });
});

describe('modelDestination', () => {
  const place = () => modelPlace(folder, [], 'm');
  const [npz, other] = [predecessorNpz(0), predecessorNpz(1)];
  const file = calibration(0);

  it.each([
    ['nothing', {}, 'free', 'free'],
    ['the memory', { 'm.npz': npz }, 'same', 'free'],
    ['both', { 'm.npz': npz, 'm_calib.json': file }, 'same', 'same'],
    ['the memory, calibrated otherwise', { 'm.npz': npz, 'm_calib.json': '{}' }, 'same', 'another calibration'],
    ['another memory', { 'm.npz': other }, 'another memory', 'another memory'],
    ['the calibration alone', { 'm_calib.json': file }, 'a calibration without a memory', 'free'],
    ['another calibration alone', { 'm_calib.json': '{}' }, 'a calibration without a memory', 'another calibration'],
    ['a damaged index alone', { 'm_index.faiss': 'x' }, 'free', 'free'],
  ] as const)('with %s there', async (_, there, without, calibrated) => {
    writeFiles(folder, there);
    const words = async (calibration: Uint8Array | undefined) => {
      const found = await modelDestination(place(), { npz, calibration });
      return typeof found === 'string' ? found : found.taken.replace(' is there', '');
    };
    expect([await words(undefined), await words(file)]).toEqual([without, calibrated]);
  });
});

it('writeSamples shows no picture without its meta wherever the power fails', async () => {
  const samples = ['a', 'b'].map((stem) => ({
    name: `${stem}.png`,
    picture: Buffer.from(stem),
    meta: Buffer.from(`{"is":"${stem}"}`),
  }));
  for (let changes = 0; ; changes++) {
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    const done = await until(changes, () => writeSamples(folder, ['s'], samples));
    const there = Object.keys(filesBelow(folder)).filter((name) => !name.includes('.tmp-'));
    for (const stem of ['a', 'b']) {
      if (there.includes(`s/${stem}.png`)) expect(there, `after ${changes}`).toContain(`s/${stem}.json`);
    }
    if (done) break;
  }
  expect(readFileSync(join(folder, 's', 'b.json'), 'utf8')).toBe('{"is":"b"}');
  // The picture that comes without a meta must not inherit one.
  await writeSamples(folder, ['s'], [{ name: 'a.png', picture: Buffer.from('new'), meta: undefined }]);
  expect(Object.keys(filesBelow(folder))).toEqual(['s/a.png', 's/b.json', 's/b.png']);
});
