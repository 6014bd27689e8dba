import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDriftWatch, type JudgingModel } from '../../src/inspection/drift_watch.ts';
import type { CalibrationFile } from '../../src/store/calibration_file.ts';
import { type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

const reference = Array.from({ length: 30 }, (_, i) => 1 + i / 30);
const calibration: CalibrationFile = { threshold: 3, memory_id: 'm', ok_scores: reference };

const pictures = (brightness: (i: number) => number | null) =>
  Array.from({ length: 30 }, (_, i) => ({
    name: `${i}`,
    size: { height: 1, width: 1 },
    frame: { top: 0, left: 0, height: 1, width: 1 },
    sha256: null,
    shape: { kind: '', numbers: {} },
    leftOutScore: null,
    brightness: brightness(i),
  }));
const model: JudgingModel = { calibration, memory: { pictures: pictures((i) => 100 + i) } };

/** Values of the reference's range in an order that is no order. */
const usual = (i: number) => 1 + ((i * 17) % 30) / 30 + 0.01;
const light = (i: number) => 100.4 + ((i * 11) % 30);

const follow = (of: JudgingModel, score: (i: number) => number, brightness: (i: number) => number, place = 'p') => {
  const watch = createDriftWatch();
  for (let i = 0; i < 60; i++)
    watch.observe({ place, model: of, signals: { score: score(i), brightness: brightness(i) } });
  return watch;
};

describe('a drift watch', () => {
  it('stays steady while parts are what they were', () => {
    const watch = follow(model, usual, light);
    expect(watch.of('p', model)).toMatchObject({ state: 'steady', by: null, pictures: 60, since: null });
  });

  it.each([
    ['scores', 'higher', 'score', (i: number) => usual(i) + 0.8, light],
    ['scores', 'lower', 'score', (i: number) => usual(i) - 0.8, light],
    ['the light', 'higher', 'brightness', usual, (i: number) => light(i) + 25],
    ['the light', 'lower', 'brightness', usual, (i: number) => light(i) - 25],
  ])('notices that %s went %s', (_, direction, by, score, brightness) => {
    expect(follow(model, score, brightness).of('p', model)).toMatchObject({ state: 'drifted', by, direction });
  });

  it('looks at OK verdicts only: bad parts are no drift', () => {
    expect(follow(model, (i) => 3 + i, light).of('p', model)).toMatchObject({ state: 'steady', pictures: 0 });
  });

  it('begins anew with another calibration, and keeps models apart', () => {
    const watch = follow(model, (i) => usual(i) + 0.8, light);
    expect(watch.of('q', model).state).toBe('steady');
    const again = { ...model, calibration: { ...calibration, threshold: 4 } };
    expect(watch.of('p', again)).toMatchObject({ state: 'steady', pictures: 0 });
  });

  it('watches nothing without a calibration, and what it can with too little to compare with', () => {
    const few = { ...calibration, ok_scores: reference.slice(0, 7) };
    const blind: JudgingModel = { calibration: few, memory: { pictures: pictures(() => null) } };
    expect(follow(blind, usual, light).of('p', blind)).toMatchObject({ state: 'not_watched', statistic: null });
    expect(createDriftWatch().of('p', null).state).toBe('not_watched');
    const halfBlind = { ...model, calibration: few };
    expect(follow(halfBlind, usual, (i) => light(i) + 25).of('p', halfBlind).by).toBe('brightness');
  });
});

describe('the drift of a model', () => {
  let toy: ToyService;
  beforeEach(() => {
    toy = toyService();
  });
  afterEach(() => toy.remove());

  it('is told from nothing to drifting', async () => {
    expect(await toy.describe()).toMatchObject({ memory: null, calibrationState: 'none' });
    await toy.fit();
    expect(await toy.describe()).toMatchObject({ memory: expect.anything(), calibrationState: 'none' });
    const scores: number[] = [];
    for (let i = 0; i < 12; i++) scores.push((await toy.inspect({ picture: toyPicture(0, 30, 60, 91 + i) })).score);
    await toy.calibrate({ okScores: scores, ngScores: [1] });
    expect((await toy.describe()).drift).toMatchObject({ state: 'steady', pictures: 0 });
    for (let i = 0; i < 40; i++) await toy.inspect({ picture: toyPicture(0, 30, 60, 104 + (i % 5)) });
    expect((await toy.describe()).drift).toMatchObject({ state: 'drifted', direction: 'higher', pictures: 40 });
    await toy.fit({ pictures: [toyPicture(5, 6, 7, 8)] });
    expect(await toy.describe()).toMatchObject({ calibrationState: 'stale', drift: { state: 'not_watched' } });
  });

  it('is not watched by a threshold of another memory, though it goes on judging', async () => {
    await toy.remove();
    toy = toyService({ keepCalibration: true });
    await toy.fit();
    await toy.calibrate({ okScores: reference });
    expect((await toy.describe()).drift.state).toBe('steady');
    await toy.fit({ pictures: [toyPicture(5, 6, 7, 8)] });
    expect(await toy.inspect()).toMatchObject({ threshold: expect.any(Number), judged: null });
    expect(await toy.describe()).toMatchObject({ calibrationState: 'stale', drift: { state: 'not_watched' } });
  });
});
