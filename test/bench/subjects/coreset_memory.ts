/** A process: `rows cols picks threads` → message with the MiB that one coreset needed, its input included. */
import { createOnnxProducts } from '../../../src/neighbors/onnx_products.ts';
import { selectCoreset } from '../../../src/patchcore/coreset.ts';
import { patchRows } from './patch_rows.ts';
import { ownPeakMib, residentMib } from './process_memory.ts';

const [rows, cols, picks, threads] = process.argv.slice(2).map(Number) as [number, number, number, number];
const { products, dispose } = await createOnnxProducts({ threads });
// The engine's and the loader's own memory is there before.
await selectCoreset(patchRows(64, cols, 2), 8, products);
const before = residentMib(process.pid);
await selectCoreset(patchRows(rows, cols, 1), picks, products);
process.send?.(ownPeakMib() - before);
await dispose();
