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

const described: Omit<ExtractorInfo, 'fingerprint'> = {
  name: embeddedExtractorName,
  preprocessing,
  grid: { rows: gridSize, cols: gridSize },
  width: filterBankWidth,
  patchSize: filterBankPatchSize,
};

/**
 * Describes the embedded extractor and loads nothing. The first look at its fingerprint writes the graph to hash it: 20 to
 * 40 ms, which a start that only answers `/health` is spared.
 */
export function embeddedExtractorInfo(): ExtractorInfo {
  let known: string | null = null;
  return {
    ...described,
    get fingerprint() {
      known ??= fingerprintOf(writeFilterBankGraph());
      return known;
    },
  };
}

/**
 * Opens the embedded extractor: a fixed filter bank that needs no weights; see {@link writeFilterBankGraph}.
 *
 * Embeddings are the raw concatenation of its maps [1024, 74]; the image vector [148] is mean and deviation of the
 * unit-length rows.
 */
export async function openEmbeddedExtractor(options: SessionOptions): Promise<Extractor> {
  const graph = writeFilterBankGraph();
  const info = { ...described, fingerprint: fingerprintOf(graph) };
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
function fingerprintOf(graph: Uint8Array): string {
  return sha256Hex(canonicalJson({ graph: sha256Hex(graph), preprocessing: { ...preprocessing } }));
}
