import { openSession } from '../../onnx/onnx_session.ts';
import { percentile } from '../../patchcore/image_score.ts';
import type { NetworkInput } from '../extractor.ts';

/** How a graph with int8 weights compares with its fp32 twin on this machine. */
export interface PrecisionTrial {
  /** Over all patches of all pictures: cosine between a patch's two embeddings. */
  readonly meanCosine: number;
  readonly worstCosine: number;
  /** Medians per picture. */
  readonly fp32Ms: number;
  readonly int8Ms: number;
}

/** What int8 must keep to stand for fp32. */
export const requiredAgreement = { meanCosine: 0.999, worstCosine: 0.99 } as const;

/** Rounds of timed runs, after one to warm up. */
const rounds = 5;

/**
 * Runs both graphs in turns, so that a busy moment hits both.
 *
 * Cost: about {@link rounds} + 1 runs of each per picture, 10 s for ViT-S at 448 × 448 on two cores.
 *
 * @param graphs with an input `input` [1, 3, height, width] and an output `tokens` [1, patches, width]
 * @param threads of each run
 */
export async function tryPrecisions(
  graphs: { readonly fp32: Uint8Array; readonly int8: Uint8Array },
  pictures: readonly NetworkInput[],
  threads: number,
  onRun: (done: number, total: number) => void = () => undefined,
): Promise<PrecisionTrial> {
  const fp32 = await openSession(graphs.fp32, { threads });
  const int8 = await openSession(graphs.int8, { threads });
  try {
    const cosines: number[] = [];
    const times: Record<'fp32' | 'int8', number[]> = { fp32: [], int8: [] };
    const total = pictures.length * (rounds + 1);
    for (let round = 0; round <= rounds; round++) {
      for (const [index, picture] of pictures.entries()) {
        const dims = [1, 3, picture.height, picture.width];
        const started = performance.now();
        const exact = await fp32.run({ input: { dims, data: picture.data } });
        const between = performance.now();
        const quick = await int8.run({ input: { dims, data: picture.data } });
        const ended = performance.now();
        if (round === 0) {
          const { dims: shape = [], data } = exact.tokens ?? {};
          cosines.push(...rowCosines(data as Float32Array, quick.tokens?.data as Float32Array, shape.at(-1) ?? 1));
        } else {
          times.fp32.push(between - started);
          times.int8.push(ended - between);
        }
        onRun(round * pictures.length + index + 1, total);
      }
    }
    return {
      meanCosine: cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length,
      worstCosine: cosines.reduce((worst, cosine) => Math.min(worst, cosine), 1),
      fp32Ms: percentile(Float64Array.from(times.fp32), 50),
      int8Ms: percentile(Float64Array.from(times.int8), 50),
    };
  } finally {
    await fp32.dispose();
    await int8.dispose();
  }
}

/** Whether int8 may stand for fp32. NaN in either is no. */
export function agrees({ meanCosine, worstCosine }: PrecisionTrial): boolean {
  return meanCosine >= requiredAgreement.meanCosine && worstCosine >= requiredAgreement.worstCosine;
}

function rowCosines(a: Float32Array, b: Float32Array, cols: number): readonly number[] {
  return Array.from({ length: a.length / cols }, (_, row) => {
    let [dot, squaresA, squaresB] = [0, 0, 0];
    for (let i = row * cols; i < (row + 1) * cols; i++) {
      const [x, y] = [a[i] as number, b[i] as number];
      dot += x * y;
      squaresA += x * x;
      squaresB += y * y;
    }
    return dot / Math.sqrt(squaresA * squaresB);
  });
}
