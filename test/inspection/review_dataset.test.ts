import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ToyService, toyService } from './toy_service.ts';
import { chord, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const even = (degrees: number) => toyPicture(degrees, degrees, degrees, degrees);

describe('reviewDataset', () => {
  it('puts the sample that the others do not expect first, and marks it', async () => {
    const { saved } = await toy.upload({ pictures: [0, 2, 4, 60, 6, 8, 10].map(even) });
    const { samples, errors } = await toy.review();
    expect(samples[0]).toEqual({ name: saved[3], score: expect.closeTo(chord(50), 2), suspect: true });
    expect(samples.slice(1).map(({ suspect }) => suspect)).toEqual(new Array(6).fill(false));
    const scores = samples.map(({ score }) => score);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(errors).toEqual([]);
  });

  it('leaves the model that serves, and every file, as it is', async () => {
    await toy.fit({ pictures: [even(0)] });
    await toy.calibrate();
    await toy.upload({ pictures: [0, 30, 60].map(even) });
    const before = toy.files();
    await toy.review();
    expect(toy.files()).toEqual(before);
    expect((await toy.inspect({ picture: even(0) })).decision).toBe('ok');
  });

  it('looks inside of each sample’s own ROI', async () => {
    const shape = { kind: 'rect', x: 0, y: 0, w: 1, h: 1 };
    const pictures = [0, 2, 4, 6, 8].map((degrees) => toyPicture(degrees, 90, 0, 45));
    await toy.upload({ pictures: [...pictures, toyPicture(4, 10, 20, 30)], metas: new Array(6).fill({ shape }) });
    const { samples } = await toy.review();
    for (const { score } of samples) expect(score).toBeLessThan(chord(5));
  });

  it('scores every sample, however many there are', async () => {
    await toy.upload({ pictures: Array.from({ length: 70 }, (_, i) => even(i)) });
    expect((await toy.review()).samples).toHaveLength(70);
  });

  it('holds every patch, however few a fit holds, as far as memory allows', async () => {
    const small = toyService({ fitPatches: 1, fitBytes: 70 * 32 });
    const upload = (count: number) => small.upload({ pictures: Array.from({ length: count }, (_, i) => even(i)) });
    await upload(70);
    expect((await small.review()).samples).toHaveLength(70);
    expect(small.vision.calls.thin).toBeUndefined();
    await upload(1);
    await expect(small.review()).rejects.toMatchObject({
      code: 'invalid_value',
      message: expect.stringMatching(/^71 pictures .* as good parts are, or raise it/),
    });
    await small.remove();
  });

  it('passes over what cannot be read, and says so', async () => {
    const { saved } = await toy.upload({ pictures: [0, 2, 4].map(even), metas: [{}, { shape: 3 }, {}] });
    const { samples, errors } = await toy.review();
    expect(samples.map(({ name }) => name).sort()).toEqual([saved[0], saved[2]]);
    expect(errors).toEqual([{ label: 'ok', filename: saved[1], error: expect.stringMatching(/shape/) }]);
  });

  it.each([
    ['none', [], /0 are stored and 0 can be read/],
    ['one', [{}], /1 are stored and 1 can be read/],
    ['one that can be read', [{}, { shape: 3 }], /2 are stored and 1 can be read/],
  ])('is refused for %s', async (_, metas, message) => {
    if (metas.length > 0) await toy.upload({ pictures: metas.map((_meta, i) => even(i)), metas });
    await expect(toy.review()).rejects.toMatchObject({
      code: 'insufficient_ok_samples',
      message: expect.stringMatching(message),
    });
  });

  it('ends when nobody waits for it any more', async () => {
    await toy.upload({ pictures: [0, 2, 4].map(even) });
    const caller = new AbortController();
    toy.vision.beforeEmbed = async () => caller.abort();
    await expect(toy.review({ signal: caller.signal })).rejects.toMatchObject({ code: 'request_aborted' });
  });
});
