import { readVitWeights } from '../../../src/extractors/vit/read_vit_weights.ts';
import { type VitPrecision, writeVitGraph } from '../../../src/extractors/vit/vit_graph.ts';
import { openSession } from '../../../src/onnx/onnx_session.ts';
import { cellsSeenThrough } from '../../../src/patchcore/roi_cells.ts';
import { roiMask } from '../../../src/patchcore/roi_mask.ts';
import { plainVitGraph } from '../../golden/reference_vit.ts';
import { readSafetensors } from '../../golden/safetensors.ts';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { type BareRun, openBareRun, vitSide } from './bench_extractors.ts';

/**
 * The same picture through a plain graph of ViT-S/14, ours in fp32 and ours in int8, on one thread and on all; and through
 * ours with no other patches than those that an annulus covers.
 */
export async function benchVit(context: BenchContext): Promise<void> {
  if (context.weights === null) {
    context.leaveOut('ViT-S/14 is left out: --weights model.safetensors gives its weights.');
    return;
  }
  const { weights } = await readVitWeights(context.weights);
  const size = { height: vitSide, width: vitSide, blocks: [9, 10, 11] };
  const graphs = {
    plain: plainVitGraph(readSafetensors(context.weights), { rows: vitSide / 14, cols: vitSide / 14 }),
    fp32: writeVitGraph(weights, { ...size, precision: 'fp32' }),
    int8: writeVitGraph(weights, { ...size, precision: 'int8' }),
    fp32Kept: writeVitGraph(weights, { ...size, precision: 'fp32', keptOnly: true }),
    int8Kept: writeVitGraph(weights, { ...size, precision: 'int8', keptOnly: true }),
  };
  const kept = patchesOfAnnulus();
  const figures: Measured[] = [];
  for (const threads of new Set([1, context.threads])) {
    const name = `${threads} thread${threads === 1 ? '' : 's'}`;
    context.tell(name);
    const [plain, fp32, int8, fp32Kept, int8Kept] = await Promise.all([
      openBareRun(graphs.plain, vitSide, threads),
      openBareRun(graphs.fp32, vitSide, threads),
      openBareRun(graphs.int8, vitSide, threads),
      openKeptRun(graphs.fp32Kept, kept, threads),
      openKeptRun(graphs.int8Kept, kept, threads),
    ]);
    const times = await interleaved(
      {
        plain: timed(plain.run),
        fp32: timed(fp32.run),
        int8: timed(int8.run),
        fp32Kept: timed(fp32Kept.run),
        int8Kept: timed(int8Kept.run),
      },
      { repetitions: context.repetitions, signal: context.signal },
    );
    const reference = { name: 'plain graph', values: times.plain };
    const ofAll = (precision: VitPrecision) => ({ name: `all patches in ${precision}`, values: times[precision] });
    const share = `${kept.length} of ${(vitSide / 14) ** 2} patches`;
    figures.push(
      { name: `${name}: plain graph`, unit: 'ms', values: times.plain, reference: null },
      { name: `${name}: fp32`, unit: 'ms', values: times.fp32, reference },
      { name: `${name}: int8`, unit: 'ms', values: times.int8, reference },
      { name: `${name}: fp32, ${share}`, unit: 'ms', values: times.fp32Kept, reference: ofAll('fp32') },
      { name: `${name}: int8, ${share}`, unit: 'ms', values: times.int8Kept, reference: ofAll('int8') },
    );
    for (const session of [plain, fp32, int8, fp32Kept, int8Kept]) await session.dispose();
  }
  context.report(`ViT-S/14, bare runs, ${vitSide} × ${vitSide}`, figures);
}

/** The patches whose distances an inspection inside an annulus needs: 42 % of the picture's. */
function patchesOfAnnulus(): Float32Array {
  const [middle, cells] = [(vitSide - 1) / 2, vitSide / 14];
  const mask = roiMask(
    { kind: 'annulus', cx: middle, cy: middle, r: 170, rInner: 120 },
    { height: vitSide, width: vitSide },
  );
  const frame = { top: 0, left: 0, height: cells, width: cells };
  return Float32Array.from(cellsSeenThrough(mask, { rows: cells, cols: cells }, frame, 1));
}

async function openKeptRun(graph: Uint8Array, kept: Float32Array, threads: number): Promise<BareRun> {
  const session = await openSession(graph, { threads });
  const input = { dims: [1, 3, vitSide, vitSide], data: new Float32Array(3 * vitSide ** 2).fill(0.1) };
  const feeds = { input, kept: { dims: [kept.length], data: kept } };
  return { run: () => session.run(feeds), dispose: () => session.dispose() };
}
