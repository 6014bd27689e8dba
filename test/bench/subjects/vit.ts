import { readVitWeights } from '../../../src/extractors/vit/read_vit_weights.ts';
import { writeVitGraph } from '../../../src/extractors/vit/vit_graph.ts';
import { plainVitGraph } from '../../golden/reference_vit.ts';
import { readSafetensors } from '../../golden/safetensors.ts';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { openBareRun, vitSide } from './bench_extractors.ts';

/** The same picture through a plain graph of ViT-S/14, ours in fp32 and ours in int8, on one thread and on all. */
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
  };
  const figures: Measured[] = [];
  for (const threads of new Set([1, context.threads])) {
    const name = `${threads} thread${threads === 1 ? '' : 's'}`;
    context.tell(name);
    const [plain, fp32, int8] = await Promise.all([
      openBareRun(graphs.plain, vitSide, threads),
      openBareRun(graphs.fp32, vitSide, threads),
      openBareRun(graphs.int8, vitSide, threads),
    ]);
    const times = await interleaved(
      { plain: timed(plain.run), fp32: timed(fp32.run), int8: timed(int8.run) },
      { repetitions: context.repetitions, signal: context.signal },
    );
    const reference = { name: 'plain graph', values: times.plain };
    figures.push(
      { name: `${name}: plain graph`, unit: 'ms', values: times.plain, reference: null },
      { name: `${name}: fp32`, unit: 'ms', values: times.fp32, reference },
      { name: `${name}: int8`, unit: 'ms', values: times.int8, reference },
    );
    for (const session of [plain, fp32, int8]) await session.dispose();
  }
  context.report(`ViT-S/14, bare runs, ${vitSide} × ${vitSide}`, figures);
}
