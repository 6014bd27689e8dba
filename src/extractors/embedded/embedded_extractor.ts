import { InspectionError } from '../../errors.ts';
import { openSession, type SessionOptions } from '../../onnx/onnx_session.ts';
import { createMatrix } from '../../patchcore/matrix.ts';
import type { Extractor, ExtractorInfo, Preprocessing } from '../extractor.ts';
import { canonicalJson, sha256Hex } from '../fingerprint.ts';
import { requireInputSize } from '../network_input.ts';
import {
  filterBankInputSize,
  filterBankPatchSize,
  filterBankWidth,
  writeFilterBankGraph,
} from './filter_bank_graph.ts';

/** The name in `/health`, memories and `EXTRACTOR`. */
export const embeddedExtractorName = 'embedded_filter_bank';

const gridSize = filterBankInputSize / filterBankPatchSize;

/**
 * Stretched, not letterboxed: contrast normalisation and the wide filters would carry the edge of black padding cells
 * deep into the picture. Measured image AUROC (99th percentile of the map, 2 % coreset), stretch / letterbox:
 * magnetic_tile, whose pictures have many shapes, .73 / .65 (40 good pictures); alien, all of one shape, .96 / .97 (39).
 */
const preprocessing: Preprocessing = {
  height: filterBankInputSize,
  width: filterBankInputSize,
  fit: 'stretch',
  resample: 'area',
  colorOrder: 'rgb',
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

/** Describes the embedded extractor. Writes the graph to hash it (20 to 40 ms), loads nothing. */
export function embeddedExtractorInfo(): ExtractorInfo {
  return describeGraph(writeFilterBankGraph());
}

/**
 * Opens the embedded extractor: a fixed filter bank that needs no weights; see {@link writeFilterBankGraph}.
 *
 * Embeddings are the raw concatenation of its maps [1024, 74]; the image vector [148] is mean and deviation of the
 * unit-length rows.
 */
export async function openEmbeddedExtractor(options: SessionOptions): Promise<Extractor> {
  const graph = writeFilterBankGraph();
  const info = describeGraph(graph);
  const session = await openSession(graph, options);
  const run = (data: Float32Array) =>
    session.run({ input: { dims: [1, 3, filterBankInputSize, filterBankInputSize], data } });
  await run(new Float32Array(3 * filterBankInputSize ** 2));
  return {
    info,
    device: session.device,
    extract: async (input) => {
      requireInputSize(input, preprocessing);
      const outputs = await run(input.data);
      const embeddings = outputs.embeddings?.data;
      const imageVector = outputs.image_vector?.data;
      if (!(embeddings instanceof Float32Array) || !(imageVector instanceof Float32Array)) {
        throw new InspectionError('internal_error', 'The embedded graph did not give its two float outputs.');
      }
      return {
        grid: info.grid,
        embeddings: createMatrix(gridSize * gridSize, filterBankWidth, embeddings),
        imageVector,
      };
    },
    dispose: () => session.dispose(),
  };
}

/** The graph's bytes are the weights; its own operators are hashed with them. */
function describeGraph(graph: Uint8Array): ExtractorInfo {
  return {
    name: embeddedExtractorName,
    fingerprint: sha256Hex(canonicalJson({ graph: sha256Hex(graph), preprocessing: { ...preprocessing } })),
    preprocessing,
    grid: { rows: gridSize, cols: gridSize },
    width: filterBankWidth,
    patchSize: filterBankPatchSize,
  };
}
