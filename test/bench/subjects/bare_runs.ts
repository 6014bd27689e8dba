/** A process: `graph side` → a message when its network is warm, and for each message of n one after n runs with one thread. */
import { writeFilterBankGraph } from '../../../src/extractors/embedded/filter_bank_graph.ts';
import { openBareRun } from './bench_extractors.ts';

const [graph, side] = process.argv.slice(2) as [string, string];
const bare = await openBareRun(graph === '' ? writeFilterBankGraph() : graph, Number(side), 1);
await bare.run();
process.on('message', async (runs: number) => {
  for (let i = 0; i < runs; i++) await bare.run();
  process.send?.('done');
});
process.on('disconnect', () => void bare.dispose());
process.send?.('ready');
