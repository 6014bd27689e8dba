import { createInt8Neighbors } from '../../src/neighbors/int8_neighbors.ts';
import { createOnnxNeighbors } from '../../src/neighbors/onnx_neighbors.ts';
import { referenceNeighbors } from '../../src/neighbors/reference_neighbors.ts';
import { neighborsConformance } from './conformance.ts';
import { storedIn } from './stored_in.ts';

neighborsConformance('reference', async (bank) => referenceNeighbors(bank));
neighborsConformance('onnx', (bank) => createOnnxNeighbors(bank, { threads: 1 }));
neighborsConformance('onnx_int8', (bank) => createInt8Neighbors(bank, storedIn(bank), { threads: 1 }));
