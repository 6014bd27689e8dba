import { InspectionError } from '../errors.ts';
import { type OnnxSession, type OutputTensor, openSession, type SessionOptions } from '../onnx/onnx_session.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { createMatrix, type Matrix, meanRow } from '../patchcore/matrix.ts';
import type { Extractor, NetworkInput, PatchEmbeddings } from './extractor.ts';
import { type FeatureMapShape, writeFeatureMapMerge } from './feature_map_merge.ts';
import { describeModelCard, type EmbeddingOutput, type ModelCard, verifyModelFile } from './model_card.ts';
import { requireInputSize } from './network_input.ts';
import { inexactInt8, int8ProductsAreExact } from './vit/int8_products.ts';

type Outputs = Readonly<Record<string, OutputTensor>>;

/** Makes patch embeddings of the network's outputs. */
interface OutputReader {
  read(outputs: Outputs): Promise<Matrix>;
  dispose(): Promise<void>;
}

/**
 * Opens the model of a card. The file's sha256 is checked, then one black picture is run, so that a card that does
 * not describe its model is refused here and not at the first part: costs about one extraction.
 *
 * @throws InspectionError `extractor_not_found` when the model file is missing; `invalid_model_card` when it is not
 *   the card's, or its inputs and outputs are not what the card says; `invalid_config` when another input size is
 *   wished for than the graph is fixed to
 */
export async function openOnnxExtractor(card: ModelCard, options: SessionOptions): Promise<Extractor> {
  await verifyModelFile(card);
  // It may have been made on another machine.
  if (card.made?.precision === 'int8' && !(await int8ProductsAreExact())) throw inexactInt8();
  const session = await openSession(card.modelPath, options);
  try {
    return await extractorOf(card, session, options.threads);
  } catch (error) {
    await session.dispose();
    throw error;
  }
}

async function extractorOf(card: ModelCard, session: OnnxSession, threads: number): Promise<Extractor> {
  requireDeclaredNames(card, session);
  const described = describeModelCard(card);
  const { preprocessing, grid } = described;
  const { height, width } = preprocessing;
  const runNetwork = (input: NetworkInput): Promise<Outputs> =>
    session.run({ [card.inputName]: { dims: [1, 3, height, width], data: input.data } });

  const probe = await runNetwork({ height, width, data: new Float32Array(3 * height * width) });
  const reader = await createOutputReader(card, probe, grid, threads);
  const readPicture = async (outputs: Outputs): Promise<PatchEmbeddings> => {
    const embeddings = await reader.read(outputs);
    const vector = card.imageVector === null ? null : wholeImageVector(card, outputs[card.imageVector]);
    return {
      grid,
      embeddings,
      get imageVector() {
        return vector ?? meanRow(embeddings);
      },
    };
  };
  try {
    const { embeddings } = await readPicture(probe);
    if (card.embeddingWidth !== null && card.embeddingWidth !== embeddings.cols) {
      throw mismatch(card, `embedding_width is ${card.embeddingWidth}, the model gives ${embeddings.cols}`);
    }
    return {
      info: { ...described, width: embeddings.cols },
      device: session.device,
      extract: async (input) => {
        requireInputSize(input, preprocessing);
        return readPicture(await runNetwork(input));
      },
      dispose: async () => {
        await reader.dispose();
        await session.dispose();
      },
    };
  } catch (error) {
    await reader.dispose();
    throw error;
  }
}

function requireDeclaredNames(card: ModelCard, session: OnnxSession): void {
  if (!session.inputNames.includes(card.inputName)) {
    throw mismatch(card, `input.name is ${card.inputName}, the model has ${session.inputNames.join(', ')}`);
  }
  const embeddingNames = card.output.kind === 'tokens' ? card.output.names : card.output.maps.map(({ name }) => name);
  for (const name of card.imageVector === null ? embeddingNames : [...embeddingNames, card.imageVector]) {
    if (session.outputNames.includes(name)) continue;
    throw mismatch(card, `it names the output ${name}, the model has ${session.outputNames.join(', ')}`);
  }
  const { height, width } = card.preprocessing;
  const declared = session.inputDims(card.inputName);
  const free = -1;
  const takes = (axis: number, size: number) => declared[axis] === free || declared[axis] === size;
  const shape = declared.map((dim) => (dim === free ? 'free' : dim)).join(', ');
  if (declared.length !== 4 || !takes(0, 1) || !takes(1, 3)) {
    throw mismatch(card, `its model's input is [${shape}], expected [1 or free, 3, ${height}, ${width}]`);
  }
  if (takes(2, height) && takes(3, width)) return;
  throw new InspectionError(
    'invalid_config',
    `The extractor ${card.name} takes only pictures of the size in its graph, [${shape}], not ${height} × ${width}; leave INPUT_SIZE empty, or correct input.height and input.width in its model card.`,
  );
}

function createOutputReader(card: ModelCard, probe: Outputs, grid: PatchGrid, threads: number): Promise<OutputReader> {
  return card.output.kind === 'tokens'
    ? Promise.resolve(tokenReader(card, card.output, probe, grid))
    : featureMapReader(card, card.output, probe, threads);
}

/** [1, t, d] each: the last rows · cols tokens of every output, concatenated along d. */
function tokenReader(
  card: ModelCard,
  output: Extract<EmbeddingOutput, { kind: 'tokens' }>,
  probe: Outputs,
  { rows, cols }: PatchGrid,
): OutputReader {
  const cells = rows * cols;
  const widths = output.names.map((name) => {
    const { dims } = floats(card, name, probe[name]);
    const [batch, tokens, width] = dims;
    if (dims.length !== 3 || batch !== 1 || width === undefined) {
      throw mismatch(card, `its output ${name} has the shape [${dims.join(', ')}], tokens are [1, tokens, width]`);
    }
    if (tokens !== cells + output.dropTokens) {
      throw mismatch(
        card,
        `its output ${name} has ${tokens} tokens; a ${rows} × ${cols} grid with ${output.dropTokens} dropped needs ${cells + output.dropTokens}: correct patch_size or drop_tokens`,
      );
    }
    return width;
  });
  const total = widths.reduce((sum, width) => sum + width, 0);
  return {
    read: async (outputs) => {
      const parts = output.names.map((name) => floats(card, name, outputs[name]).data);
      const [only] = parts;
      if (parts.length === 1 && only !== undefined) {
        // A view would keep the dropped tokens in its buffer and surprise whoever moves the buffer to another thread.
        return createMatrix(cells, total, output.dropTokens === 0 ? only : only.slice(output.dropTokens * total));
      }
      const data = new Float32Array(cells * total);
      let left = 0;
      for (const [index, part] of parts.entries()) {
        const width = widths[index] as number;
        for (let cell = 0; cell < cells; cell++) {
          const from = (cell + output.dropTokens) * width;
          data.set(part.subarray(from, from + width), cell * total + left);
        }
        left += width;
      }
      return createMatrix(cells, total, data);
    },
    dispose: async () => undefined,
  };
}

/** [1, c, rows, cols] each, merged by a graph of its own. */
async function featureMapReader(
  card: ModelCard,
  output: Extract<EmbeddingOutput, { kind: 'feature_maps' }>,
  probe: Outputs,
  threads: number,
): Promise<OutputReader> {
  const { height, width } = card.preprocessing;
  const shapes = output.maps.map(({ name, stride }): FeatureMapShape => {
    const { dims } = floats(card, name, probe[name]);
    const [batch, channels, rows, cols] = dims;
    const expected = { rows: height / stride, cols: width / stride };
    if (
      dims.length !== 4 ||
      batch !== 1 ||
      channels === undefined ||
      rows !== expected.rows ||
      cols !== expected.cols
    ) {
      throw mismatch(
        card,
        `its output ${name} has the shape [${dims.join(', ')}]; with stride ${stride} it should be [1, channels, ${expected.rows}, ${expected.cols}]`,
      );
    }
    return { channels, ...expected };
  });
  const merge = await openSession(writeFeatureMapMerge(shapes), { threads });
  return {
    read: async (outputs) => {
      const maps = output.maps.map(({ name }, index) => [`map_${index}`, floats(card, name, outputs[name])] as const);
      const { embeddings } = await merge.run(Object.fromEntries(maps));
      const { dims, data } = floats(card, 'embeddings', embeddings);
      return createMatrix(dims[0] as number, dims[1] as number, data);
    },
    dispose: () => merge.dispose(),
  };
}

function floats(
  card: ModelCard,
  name: string,
  tensor: OutputTensor | undefined,
): { readonly dims: readonly number[]; readonly data: Float32Array } {
  if (tensor?.data instanceof Float32Array) return { dims: tensor.dims, data: tensor.data };
  throw mismatch(card, `its output ${name} does not hold float32 numbers`);
}

function wholeImageVector(card: ModelCard, tensor: OutputTensor | undefined): Float32Array {
  const { dims, data } = floats(card, card.imageVector ?? '', tensor);
  if (dims[0] === 1 && dims[1] === data.length) return data;
  throw mismatch(
    card,
    `its output ${card.imageVector} has the shape [${dims.join(', ')}], an image vector is [1, width]`,
  );
}

function mismatch(card: ModelCard, what: string): InspectionError {
  return new InspectionError(
    'invalid_model_card',
    `The model card of ${card.name} does not describe its model: ${what}.`,
  );
}
