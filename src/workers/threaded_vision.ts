import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { Piscina } from 'piscina';
import { InspectionError } from '../errors.ts';
import type { Device } from '../onnx/onnx_session.ts';
import { keepRuntimeSilent } from '../onnx/telemetry.ts';
import type { MemoryAddress } from '../store/model_store.ts';
import type { BankSettings, SearchedPicture } from './bank_steps.ts';
import type { ExtractedPicture } from './extracted_picture.ts';
import type { FitSettings } from './fit_steps.ts';
import type { NetworkSettings } from './network_steps.ts';
import { movable, type Outcome, unwrap, type WorkerStart } from './outcome.ts';
import type { PixelSettings } from './pixel_steps.ts';
import type { FitHooks, FitOrder, FittedMemory, PreparedPicture, Vision } from './vision.ts';
import { createWaitingLine, type WaitingLine } from './waiting_line.ts';

export interface ThreadedVisionSettings {
  readonly pixels: PixelSettings;
  readonly network: NetworkSettings;
  readonly banks: BankSettings;
  /** Threads that hold a network of their own. */
  readonly networkWorkers: number;
  /**
   * Threads inside a run that is the only one: another thread with a network of its own serves whoever comes alone. Null: as
   * many as in any other run.
   */
  readonly threadsAlone: number | null;
  /** Threads that hold banks, each memory's in one of them. */
  readonly bankWorkers: number;
  /** Threads that decode, draw and encode. */
  readonly pixelWorkers: number;
}

/** Threads for one kind of step, and the line before them. */
interface Crew {
  readonly line: WaitingLine;
  /** @throws InspectionError `shutting_down` */
  readonly pool: () => Piscina;
}

interface StepOptions {
  /** Arrays to be moved. */
  readonly give?: readonly ArrayBufferView[];
  readonly signal?: AbortSignal | undefined;
}

/** How often a running fit is asked for its progress. */
const gaugeIntervalMs = 200;

/**
 * The steps in pools of threads: pixels (stateless), networks (each thread owns its session), banks (each memory belongs to
 * one thread: it is loaded once, however many networks ask), and one thread for fits, which take seconds to minutes and must
 * not stand in the way of inspections. Pools and what they load come up on first use.
 */
export function threadedVision(settings: ThreadedVisionSettings): Vision {
  keepRuntimeSilent();
  let closed = false;
  const closing = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const pools: Piscina[] = [];
  const running = new Set<Promise<unknown>>();
  // Inputs lie in memory that threads share. V8 does not count it when it decides whether to collect garbage, so what were
  // dropped would stay for hundreds of pictures, 2.4 MB each at 448 pixels: it is used again instead.
  const rooms: SharedArrayBuffer[] = [];
  const mostRooms = settings.pixelWorkers + settings.networkWorkers + 1;
  const lent = new WeakSet<PreparedPicture>();
  const keepRoom = (room: ArrayBufferLike | undefined) => {
    if (room instanceof SharedArrayBuffer && rooms.length < mostRooms) rooms.push(room);
  };

  const crew = <S>(name: string, size: number, settings: S): Crew => {
    let pool: Piscina | null = null;
    return {
      line: createWaitingLine(size),
      pool: () => {
        if (closed) throw new InspectionError('shutting_down', 'The service is shutting down and takes no more work.');
        pool ??= openPool(name, size, { settings, closing } satisfies WorkerStart<S>);
        if (!pools.includes(pool)) pools.push(pool);
        return pool;
      },
    };
  };
  const pixels = crew('pixel_worker', settings.pixelWorkers, settings.pixels);
  const network = crew('network_worker', settings.networkWorkers, settings.network);
  const alone =
    settings.threadsAlone === null
      ? null
      : crew('network_worker', 1, { ...settings.network, threads: settings.threadsAlone });
  const banks = Array.from({ length: settings.bankWorkers }, () => crew('bank_worker', 1, settings.banks));
  const bankCrewOf = ({ path }: MemoryAddress) => banks[crc32(path) % banks.length] as Crew;
  const fitting = crew<FitSettings>('fit_worker', 1, { threads: settings.network.threads });

  // The line is ours: piscina 5.3 moves a task that finds no thread to the end of its queue, and its signal also ends the
  // thread of a task that has begun.
  const run = <T>({ line, pool }: Crew, name: string, task: unknown, { give = [], signal }: StepOptions = {}) =>
    line.enter(async (): Promise<T> => {
      const answer: Promise<Outcome<T>> = pool().run(task, { name, transferList: movable(give) });
      running.add(answer);
      try {
        return unwrap(await answer);
      } finally {
        running.delete(answer);
      }
    }, signal);

  // Cores that share one run are faster for it than one core; for several runs at once, one core each is faster.
  let inNetwork = 0;
  const runNetwork = async <T>(name: string, task: unknown, options?: StepOptions): Promise<T> => {
    const chosen = alone !== null && inNetwork === 0 ? alone : network;
    inNetwork++;
    try {
      return await run<T>(chosen, name, task, options);
    } finally {
      inNetwork--;
    }
  };

  const fit = async (order: FitOrder, hooks: FitHooks = {}): Promise<FittedMemory> => {
    const gauge = new Int32Array(new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT));
    const stop = () => Atomics.store(gauge, 2, 1);
    hooks.signal?.addEventListener('abort', stop, { once: true });
    if (hooks.signal?.aborted === true) stop();
    const look = () => {
      const total = Atomics.load(gauge, 1);
      if (total !== 0) hooks.onProgress?.(Atomics.load(gauge, 0), total);
    };
    const looking = setInterval(look, gaugeIntervalMs);
    try {
      const fitted = await run<FittedMemory>(
        fitting,
        'fit',
        { order, gauge },
        { give: [order.patches.data], signal: hooks.signal },
      );
      look();
      return fitted;
    } catch (error) {
      if (closed && error instanceof InspectionError && error.code === 'request_aborted') {
        throw new InspectionError('shutting_down', error.message, { cause: error });
      }
      throw error;
    } finally {
      clearInterval(looking);
      hooks.signal?.removeEventListener('abort', stop);
    }
  };

  return {
    prepare: async (bytes, name, signal) => {
      const room = rooms.pop();
      try {
        const picture = await run<PreparedPicture>(pixels, 'prepare', { bytes, name, room }, { give: [bytes], signal });
        lent.add(picture);
        return picture;
      } catch (error) {
        keepRoom(room);
        throw error;
      }
    },
    release: (picture) => {
      // A room that were given back twice would be two pictures' at once.
      if (lent.delete(picture)) keepRoom(picture.input.data.buffer);
    },
    embed: (picture) => runNetwork('embed', picture),
    measure: async (picture, memory, { matches = false, signal } = {}) => {
      const extracted = await runNetwork<ExtractedPicture>('extract', picture, { signal });
      const { embeddings, extractMs } = extracted;
      const task = { picture: extracted, memory, matches };
      const options = { give: [embeddings.data], signal };
      return { ...(await run<SearchedPicture>(bankCrewOf(memory), 'search', task, options)), extractMs };
    },
    describe: (memory) => run(bankCrewOf(memory), 'describe', memory),
    draw: (order, signal) => run(pixels, 'draw', order, { give: [order.distances], signal }),
    prove: (bytes, name, signal) => run(pixels, 'prove', { bytes, name }, { signal }),
    roiCells: (order) => run(pixels, 'roiCells', order),
    thumbnail: (bytes, name, maxSide) => run(pixels, 'thumbnail', { bytes, name, maxSide }, { give: [bytes] }),
    mask: (bytes, name) => run(pixels, 'mask', { bytes, name }, { give: [bytes] }),
    repairIndex: (place) => run(pixels, 'repairIndex', place),
    thin: (patches, size, signal) => run(fitting, 'thin', { patches, size }, { give: [patches.data], signal }),
    fit,
    warm: async () => {
      const [devices] = await Promise.all([
        Promise.all([
          ...Array.from({ length: settings.networkWorkers }, () => run<Device>(network, 'warm', null)),
          ...(alone === null ? [] : [run<Device>(alone, 'warm', null)]),
        ]),
        Promise.all(Array.from({ length: settings.pixelWorkers }, () => run(pixels, 'warm', null))),
        Promise.all(banks.map((bank) => run(bank, 'warm', null))),
      ]);
      return devices.find((device) => device === 'cpu') ?? devices[0] ?? 'cpu';
    },
    close: async () => {
      closed = true;
      Atomics.store(closing, 0, 1);
      // A thread that is ended in the middle of a native call takes the process with it, so each ends its step first.
      await Promise.allSettled(running);
      await Promise.all(pools.map((pool) => pool.destroy()));
    },
  };
}

function openPool(name: string, size: number, start: WorkerStart<unknown>): Piscina {
  // Run from source (scripts, tests), the threads still need JavaScript: Node has no loader for them, the build has.
  const folder = import.meta.url.endsWith('.ts') ? '../../dist/workers/' : './';
  return new Piscina({
    filename: fileURLToPath(new URL(`${folder}${name}.js`, import.meta.url)),
    minThreads: size,
    maxThreads: size,
    workerData: start,
    // A worker that sleeps in Atomics.wait would delay the engine's own callbacks.
    atomics: 'disabled',
  });
}
