import { InspectionError } from '../../src/errors.ts';
import type { ExtractorInfo } from '../../src/extractors/extractor.ts';
import { createMatrix, normalizeRows } from '../../src/patchcore/matrix.ts';
import { nearestNeighbors } from '../../src/patchcore/nearest_neighbors.ts';
import { thinRows } from '../../src/patchcore/thinning.ts';
import { readModelMemory } from '../../src/store/model_memory.ts';
import { describeMemory } from '../../src/workers/describe_memory.ts';
import { fitMemory } from '../../src/workers/fit_steps.ts';
import { drawPicture, repairIndex, roiCells } from '../../src/workers/pixel_steps.ts';
import type { Vision } from '../../src/workers/vision.ts';
import { requireCaller } from '../../src/workers/waiting_line.ts';
import { plainProducts } from '../matrices.ts';

const grid = { rows: 2, cols: 2 };
const size = { height: 16, width: 16 };

/** An extractor whose four patches are four angles, so that a test can say by hand what a picture's distances are. */
export const toyExtractor: ExtractorInfo = {
  name: 'toy',
  fingerprint: 'f'.repeat(64),
  preprocessing: {
    height: 8,
    width: 8,
    fit: 'stretch',
    resample: 'bicubic',
    colorOrder: 'rgb',
    mean: [0, 0, 0],
    std: [1, 1, 1],
  },
  grid,
  patchSize: 4,
  width: 2,
};

/** A picture is one byte per patch: the patch's direction in degrees. Any other length cannot be read. */
export const toyPicture = (...degrees: readonly [number, number, number, number]) => ({
  name: `${degrees.join('_')}.toy`,
  bytes: Uint8Array.from(degrees),
});

/** How far apart two patches lie whose directions differ by so many degrees. */
export const chord = (degrees: number) => 2 * Math.sin((degrees * Math.PI) / 360);

export interface ToyVision extends Vision {
  /** Calls so far, by step. */
  readonly calls: Record<string, number>;
  /** Runs before the next measurement. */
  beforeMeasure: () => Promise<void>;
  /** Runs before the next embedding. */
  beforeEmbed: () => Promise<void>;
}

/** The real steps around an extractor that needs no network; embeddings are made in `prepare` and passed as the input. */
export function toyVision(modelsDir: string): ToyVision {
  const calls: Record<string, number> = {};
  const count = (step: string) => {
    calls[step] = (calls[step] ?? 0) + 1;
  };
  const toy: ToyVision = {
    calls,
    beforeMeasure: async () => undefined,
    beforeEmbed: async () => undefined,
    prepare: async (bytes, name, signal) => {
      requireCaller(signal);
      count('prepare');
      if (bytes.length !== 4) throw new InspectionError('unreadable_image', `The picture ${name} cannot be read.`);
      const data = Float32Array.from([...bytes].flatMap(directionOf));
      const frame = { top: 0, left: 0, height: 2, width: 2 };
      return { size, input: { height: 4, width: 2, data }, frame, brightness: 100, decodeMs: 1, prepareMs: 1 };
    },
    release: () => count('release'),
    embed: async ({ input }) => {
      count('embed');
      await toy.beforeEmbed();
      return { embeddings: createMatrix(4, 2, input.data), extractMs: 1 };
    },
    measure: async ({ input }, address, { signal } = {}) => {
      requireCaller(signal);
      count('measure');
      await toy.beforeMeasure();
      const memory = await readModelMemory(address.path);
      const { distances } = nearestNeighbors(normalizeRows(createMatrix(4, 2, input.data.slice())), memory.bank, 1);
      return { memoryId: memory.memoryId, grid, distances, matches: null, extractMs: 1, searchMs: 1 };
    },
    describe: async (address) => {
      count('describe');
      return describeMemory(await readModelMemory(address.path));
    },
    prove: async (bytes, name, signal) => {
      requireCaller(signal);
      count('prove');
      if (bytes.length !== 4) throw new InspectionError('unreadable_image', `The picture ${name} cannot be read.`);
      return { format: 'png', size, sketch: toySketch(bytes) };
    },
    roiCells: (order) => roiCells(order, { grid }),
    thumbnail: async () => new Uint8Array([1]),
    mask: async (bytes) => ({
      ...size,
      data: Uint8Array.from({ length: size.height * size.width }, (_, i) => bytes[i] ?? 0),
    }),
    repairIndex: async (place) => {
      count('repairIndex');
      return repairIndex(place, { modelsDir });
    },
    draw: async (order, signal) => {
      requireCaller(signal);
      count('draw');
      return await drawPicture(order, { packInPool: false });
    },
    thin: async (patches, size, signal) => {
      requireCaller(signal);
      count('thin');
      return await thinRows(normalizeRows(patches), size, plainProducts);
    },
    fit: async (order, hooks = {}) => {
      count('fit');
      return fitMemory(order, plainProducts, {
        ...(hooks.onProgress !== undefined && { onProgress: hooks.onProgress }),
        shouldStop: () => hooks.signal?.aborted === true,
      });
    },
    warm: async () => 'cpu',
    close: async () => undefined,
  };
  return toy;
}

/** A sketch of four even quarters: pictures are near when their directions differ by a degree at most. */
function toySketch(degrees: Uint8Array): string {
  const quarters = Int8Array.from({ length: 64 }, (_, i) => degrees[Math.floor(i / 16)] as number);
  return `s8:${Buffer.from(quarters.buffer).toString('base64')}`;
}

function directionOf(degrees: number): [number, number] {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), Math.sin(angle)];
}
