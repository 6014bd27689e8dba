import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import { inlineVision } from '../../src/workers/inline_vision.ts';
import { threadedVision } from '../../src/workers/threaded_vision.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { someMetadata } from '../store/some_memory.ts';
import { type VisionSettings, visionConformance, visionSettings } from './conformance.ts';

const threaded = (settings: VisionSettings) => threadedVision({ ...settings, networkWorkers: 2, pixelWorkers: 2 });

visionConformance('inline', inlineVision);
visionConformance('threaded', threaded);

describe('threads', () => {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-threads-'));
  const picture = partPictures('train/good')[0] as PartPicture;
  let settings: VisionSettings;

  beforeAll(async () => {
    settings = (await visionSettings(modelsDir)).settings;
  });
  afterAll(() => rmSync(modelsDir, { recursive: true, force: true }));

  it('give the same embeddings as the calling thread, to the last bit', async () => {
    const visions = [inlineVision(settings), threaded(settings)];
    const found = [];
    for (const vision of visions) {
      const prepared = await vision.prepare(picture.bytes.slice(), picture.name);
      found.push((await vision.embed(prepared)).embeddings.data);
      await vision.close();
    }
    expect(found[1]).toEqual(found[0]);
  });

  it('take what they are given: no copy of the bytes stays behind', async () => {
    const vision = threaded(settings);
    const bytes = picture.bytes.slice();
    const prepared = await vision.prepare(bytes, picture.name);
    expect(bytes.byteLength).toBe(0);
    await vision.embed(prepared);
    expect(prepared.input.data.length).toBe(0);
    await vision.close();
  });

  it('serve many pictures at once as one after the other', async () => {
    const vision = threaded(settings);
    const pictures = partPictures('test/good');
    const embed = async ({ bytes, name }: PartPicture) =>
      (await vision.embed(await vision.prepare(bytes.slice(), name))).embeddings.data;
    const together = await Promise.all(pictures.map(embed));
    for (const [index, one] of pictures.entries()) expect(together[index]).toEqual(await embed(one));
    await vision.close();
  });

  it('take no work after they were closed, and abandon what runs', async () => {
    const vision = threaded(settings);
    const prepared = await vision.prepare(picture.bytes.slice(), picture.name);
    const { size, frame, brightness } = prepared;
    const { embeddings } = await vision.embed(prepared);
    const fit = vision.fit({
      pictures: Array.from({ length: 12 }, (_, i) => ({
        name: `${i}`,
        size,
        frame,
        brightness,
        embeddings: { rows: embeddings.rows, cols: embeddings.cols, data: embeddings.data.slice() },
      })),
      shape: wholePicture,
      scoreMode: 'percentile',
      scorePercentile: 99,
      sigmaPx: 1,
      positionBytes: 0,
      grid: settings.pixels.grid,
      coresetRate: 0.5,
      about: someMetadata(1),
    });
    const outcome = expect(fit).rejects.toMatchObject({ code: 'shutting_down' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await vision.close();
    await outcome;
    await expect(vision.prepare(picture.bytes.slice(), picture.name)).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
