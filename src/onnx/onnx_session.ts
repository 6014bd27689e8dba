import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { InspectionError } from '../errors.ts';
import { keepRuntimeSilent } from './telemetry.ts';

/** A tensor with its shape; its type is that of its array. */
export interface InputTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array | Uint8Array | Int8Array;
}

/** What a graph output may be here. int64 indices arrive as bigint. */
export interface OutputTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array | Int32Array | Uint8Array;
}

/** One loaded graph. `run` blocks the calling thread while it computes: call it in a worker. */
export interface OnnxSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** Where it runs: what was wished for, or the CPU where that is not to be had. */
  readonly device: Device;
  /** Declared dims of an input; free ones are -1. */
  inputDims(name: string): readonly number[];
  /** @throws InspectionError `internal_error` with the engine's message as its cause */
  run(feeds: Readonly<Record<string, InputTensor>>): Promise<Readonly<Record<string, OutputTensor>>>;
  dispose(): Promise<void>;
}

/** ONNX Runtime's execution providers that may serve. */
export type Device = 'cpu' | 'cuda' | 'webgpu' | 'dml' | 'coreml';

export interface SessionOptions {
  /** Threads of one run on the CPU, ≥ 1. */
  readonly threads: number;
  /** What the device lacks, and everything if there is no such device, runs on the CPU. Absent: the CPU. */
  readonly device?: Device;
}

/**
 * Loads an ONNX graph. ONNX Runtime itself is loaded here, on first use (about 60 ms), so that a
 * process which never infers never pays for it.
 *
 * @param model the file's bytes, or its path (for weights of many megabytes: they are then read by the engine)
 * @throws InspectionError `invalid_model_card` when the engine cannot read the graph
 */
export async function openSession(model: Uint8Array | string, options: SessionOptions): Promise<OnnxSession> {
  keepRuntimeSilent();
  const ort = await import('onnxruntime-node');
  const settings: InferenceSession.SessionOptions = {
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    // Threads that spin for more work take the cores from the other session and the pixel threads beside it.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
  // Two calls because the library's overloads do not take the union.
  const create = (providers: readonly string[]): Promise<InferenceSession> => {
    const wanted = { ...settings, executionProviders: providers };
    return typeof model === 'string'
      ? ort.InferenceSession.create(model, wanted)
      : ort.InferenceSession.create(model, wanted);
  };
  const { device = 'cpu' } = options;
  let session: InferenceSession | null = null;
  // A provider that this build lacks is passed over in silence by `create`, so it is looked up first.
  if (device !== 'cpu' && ort.listSupportedBackends().some(({ name }) => name === device)) {
    session = await create([device, 'cpu']).catch(() => null);
  }
  const used = session === null ? 'cpu' : device;
  try {
    session ??= await create(['cpu']);
  } catch (cause) {
    throw new InspectionError(
      'invalid_model_card',
      'ONNX Runtime cannot read the model file: it is not a valid ONNX graph or uses an unknown operator.',
      { cause },
    );
  }
  return withSession(ort, session, used);
}

function withSession(ort: typeof import('onnxruntime-node'), session: InferenceSession, device: Device): OnnxSession {
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    device,
    inputDims: (name) => {
      const meta = session.inputMetadata.find((item) => item.name === name);
      if (meta === undefined || !meta.isTensor) return [];
      return meta.shape.map((dim) => (typeof dim === 'number' ? dim : -1));
    },
    run: async (feeds) => {
      const tensors: Record<string, Tensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) {
        tensors[name] = new ort.Tensor(elementTypeOf(tensor.data), tensor.data, tensor.dims);
      }
      let results: InferenceSession.OnnxValueMapType;
      try {
        results = await session.run(tensors);
      } catch (cause) {
        throw new InspectionError('internal_error', 'ONNX Runtime failed while running a graph.', { cause });
      }
      const outputs: Record<string, OutputTensor> = {};
      for (const [name, value] of Object.entries(results)) {
        const tensor = value as Tensor;
        outputs[name] = { dims: tensor.dims, data: tensor.data as OutputTensor['data'] };
      }
      return outputs;
    },
    dispose: () => session.release(),
  };
}

function elementTypeOf(data: InputTensor['data']): 'float32' | 'uint8' | 'int8' {
  if (data instanceof Float32Array) return 'float32';
  return data instanceof Uint8Array ? 'uint8' : 'int8';
}
