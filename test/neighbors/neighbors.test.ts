import { createOnnxNeighbors } from '../../src/neighbors/onnx_neighbors.ts';
import { referenceNeighbors } from '../../src/neighbors/reference_neighbors.ts';
import { neighborsConformance } from './conformance.ts';

neighborsConformance('reference', async (bank) => referenceNeighbors(bank));
neighborsConformance('onnx', (bank) => createOnnxNeighbors(bank, { threads: 1 }));
