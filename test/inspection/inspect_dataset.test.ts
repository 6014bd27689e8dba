import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { chord, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const even = (degrees: number) => toyPicture(degrees, degrees, degrees, degrees);

describe('inspectDataset', () => {
  it('inspects every sample with its own ROI and scale, OK ones first', async () => {
    await toy.fit({ pictures: [even(0), even(1)], mmPerPx: 0.5 });
    await toy.calibrate({ okScores: [0.2], ngScores: [], areaMm2Thr: 0 });
    const corner = { kind: 'rect', x: 0, y: 0, w: 1, h: 1 };
    const { saved } = await toy.upload({
      pictures: [even(3), toyPicture(3, 80, 80, 80), even(1)],
      metas: [{}, { shape: corner }, {}],
    });
    const { saved: bad } = await toy.upload({ label: 'ng', pictures: [even(60)], metas: [{ mm_per_px: 0.5 }] });
    const items = await toy.inspectDataset();
    expect(items.map(({ label, filename }) => [label, filename])).toEqual([
      ...saved.map((name) => ['ok', name]),
      ['ng', bad[0]],
    ]);
    const score = (of: number) => expect.closeTo(chord(of), 5);
    expect(items).toMatchObject([
      { mmPerPx: 0.5, inMemory: false, error: null, inspection: { score: score(2), decision: 'ok', regions: [] } },
      { inMemory: false, inspection: { score: score(2), decision: 'ok' } },
      { inMemory: true, inspection: { decision: 'ok' } },
      { mmPerPx: 0.5, inspection: { score: score(59), threshold: 0.2, decision: 'ng' } },
    ]);
    const [, , , ng] = items;
    // Every pixel but the rim that a contour leaves out, at half a millimetre.
    expect(ng?.inspection?.regions).toMatchObject([{ bbox: [0, 0, 16, 16], areaMm2: 15 * 15 * 0.25 }]);
  });

  it('inspects the wanted classes only, and an empty dataset', async () => {
    await toy.fit({ pictures: [even(0)] });
    expect(await toy.inspectDataset()).toEqual([]);
    await toy.upload({ pictures: [even(3)] });
    await toy.upload({ label: 'ng', pictures: [even(60)] });
    expect((await toy.inspectDataset({ labels: ['ng'] })).map(({ label }) => label)).toEqual(['ng']);
  });

  it('gives no threshold without calibration, and heatmaps when asked to', async () => {
    await toy.fit({ pictures: [even(0)] });
    await toy.upload({ pictures: [even(3)] });
    expect(await toy.inspectDataset()).toMatchObject([
      { inspection: { threshold: null, decision: null, heatmapPng: null } },
    ]);
    const [item] = await toy.inspectDataset({ includeHeatmap: true });
    expect([...(item?.inspection?.heatmapPng?.subarray(1, 4) ?? [])]).toEqual([...Buffer.from('PNG')]);
  });

  it('says what is wrong with a sample beside the others', async () => {
    await toy.fit({ pictures: [even(0)] });
    const { saved } = await toy.upload({ pictures: [even(3), even(4)], metas: [{ shape: 'no JSON' }, {}] });
    expect(await toy.inspectDataset()).toMatchObject([
      { filename: saved[0], inspection: null, error: expect.stringMatching(/not valid JSON/) },
      { filename: saved[1], error: null },
    ]);
  });

  it.each([
    ['its own', { mm_per_px: 0.3 }, 0.3],
    ['the default of the request', {}, 0.9],
  ])('inspects in the scale of the sample where the recipe has none: %s', async (_, meta, expected) => {
    await toy.fit({ pictures: [even(0)] });
    // A recipe without a scale, as another service may have left it: it borrows the default recipe's memory.
    const elsewhere = { ...key, recipeId: 'line2' };
    await toy.datasets.save(elsewhere, 'ok', [{ bytes: even(3).bytes, extension: 'png', meta }]);
    const [item] = await toy.inspectDataset({ key: elsewhere, defaultMmPerPx: 0.9 });
    expect(item).toMatchObject({ mmPerPx: expected, inspection: { params: { mm_per_px: expected } } });
  });

  it('inspects in the scale of the recipe where that was corrected since the upload', async () => {
    await toy.upload({ pictures: [even(3)], metas: [{ mm_per_px: 0.3 }] });
    await toy.fit({ pictures: [even(0)], mmPerPx: 0.3 });
    await toy.recipes.correct('default', 0.4);
    expect(await toy.inspectDataset()).toMatchObject([{ mmPerPx: 0.4, error: null }]);
  });

  it('is refused without a memory', async () => {
    await toy.upload({ pictures: [even(3)] });
    await expect(toy.inspectDataset()).rejects.toMatchObject({ code: 'memory_not_fitted' });
  });
});
