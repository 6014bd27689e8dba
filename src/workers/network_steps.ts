import { InspectionError } from '../errors.ts';
import type { Extractor } from '../extractors/extractor.ts';
import { type ExtractorSource, openExtractor } from '../extractors/installed_extractors.ts';
import { normalizeRowsInPlace } from '../kernels/row_loops.ts';
import type { Neighbors, NeighborsEngineName, NeighborTable } from '../neighbors/neighbors.ts';
import { neighborsEngine } from '../neighbors/neighbors_engine.ts';
import { createOnnxProducts, type OnnxProducts } from '../neighbors/onnx_products.ts';
import type { Device } from '../onnx/onnx_session.ts';
import { hasOnlyFiniteNumbers, type Matrix, selectRows } from '../patchcore/matrix.ts';
import { cellsInFrame } from '../patchcore/memory_bank.ts';
import { cellOfRow, type PatchSources, type PositionMemory } from '../patchcore/position_memory.ts';
import { mixDistances, nearestByPosition, type PositionMatches } from '../patchcore/position_search.ts';
import { readModelMemory } from '../store/model_memory.ts';
import type { MemoryAddress } from '../store/model_store.ts';
import { describeMemory } from './describe_memory.ts';
import type { EmbeddedPicture, MeasuredPicture, MemoryDescription, PatchMatches, PreparedPicture } from './vision.ts';

/** The steps that need a loaded network or a loaded bank. One per thread: neither is safe for concurrent calls. */
export interface NetworkSteps {
  embed(picture: PreparedPicture): Promise<EmbeddedPicture>;
  measure(picture: PreparedPicture, memory: MemoryAddress, matches?: boolean): Promise<MeasuredPicture>;
  describe(memory: MemoryAddress): Promise<MemoryDescription>;
  /** @returns where the extractor runs */
  warm(): Promise<Device>;
  dispose(): Promise<void>;
}

export interface NetworkSettings {
  readonly source: ExtractorSource;
  readonly threads: number;
  /** Of the network; banks are searched on the CPU. */
  readonly device: Device;
  /** Banks kept loaded are dropped, longest unused first, beyond this many bytes; the one in use always stays. */
  readonly bankCacheBytes: number;
  /** What searches the banks. */
  readonly neighbors: NeighborsEngineName;
}

interface LoadedMemory {
  readonly stamp: string;
  readonly description: MemoryDescription;
  readonly neighbors: Neighbors;
  readonly position: PositionMemory | null;
  readonly sources: PatchSources | null;
  readonly bytes: number;
}

/** Loads the extractor on first use and each bank on first use, again when its file has changed. */
export function createNetworkSteps(settings: NetworkSettings): NetworkSteps {
  let extractor: Promise<Extractor> | null = null;
  let products: Promise<OnnxProducts> | null = null;
  const engine = neighborsEngine(settings.neighbors, { threads: settings.threads });
  // A Map keeps insertion order: the first key is the one unused for longest.
  const memories = new Map<string, LoadedMemory>();

  const openOnce = (): Promise<Extractor> => {
    const opened =
      extractor ??
      openExtractor(settings.source, { threads: settings.threads, device: settings.device }).catch((error: unknown) => {
        // A card may be mended while the service runs: the next picture tries again.
        extractor = null;
        throw error;
      });
    extractor = opened;
    return opened;
  };

  const load = async ({ path, stamp }: MemoryAddress): Promise<LoadedMemory> => {
    const cached = memories.get(path);
    memories.delete(path);
    if (cached !== undefined && cached.stamp === stamp) {
      memories.set(path, cached);
      return cached;
    }
    await cached?.neighbors.dispose();
    const memory = await readModelMemory(path);
    const loaded: LoadedMemory = {
      // The stamp of what was read: the file may have been replaced since the caller looked.
      stamp: memory.stamp,
      bytes: memory.bank.data.byteLength + (memory.position?.rows.data.byteLength ?? 0),
      position: memory.position,
      sources: memory.sources,
      neighbors: await engine.open(memory.bank),
      description: describeMemory(memory),
    };
    memories.set(path, loaded);
    await evict();
    return loaded;
  };

  const openProducts = (): Promise<OnnxProducts> => {
    products ??= createOnnxProducts({ threads: settings.threads });
    return products;
  };

  const evict = async (): Promise<void> => {
    let bytes = [...memories.values()].reduce((sum, memory) => sum + memory.bytes, 0);
    for (const [path, memory] of memories) {
      if (bytes <= settings.bankCacheBytes || memories.size === 1) return;
      memories.delete(path);
      bytes -= memory.bytes;
      await memory.neighbors.dispose();
    }
  };

  return {
    embed: async (picture) => {
      const started = performance.now();
      const extractor = await openOnce();
      const { embeddings, grid } = await extractor.extract(picture.input);
      if (!hasOnlyFiniteNumbers(embeddings.data)) throw notFinite(extractor);
      const cells = cellsInFrame(grid, picture.frame);
      return {
        embeddings: cells.length === embeddings.rows ? embeddings : selectRows(embeddings, cells),
        extractMs: performance.now() - started,
      };
    },
    measure: async (picture, address, matches = false) => {
      const memory = await load(address);
      const started = performance.now();
      const extractor = await openOnce();
      const { embeddings, grid } = await extractor.extract(picture.input);
      const extracted = performance.now();
      requireMatch(memory.description, embeddings, grid);
      if (!normalizeRowsInPlace(embeddings)) throw notFinite(extractor);
      const cells = cellsInFrame(grid, picture.frame);
      const queries = cells.length === embeddings.rows ? embeddings : selectRows(embeddings, cells);
      const table = await memory.neighbors.search(queries, 1);
      const near =
        memory.position === null
          ? null
          : await nearestByPosition(queries, cells, memory.position, (await openProducts()).products);
      const patches =
        near === null || memory.position === null
          ? table.distances
          : mixDistances(table.distances, near.distances, memory.position.weight);
      const distances = new Float32Array(grid.rows * grid.cols);
      for (const [row, cell] of cells.entries()) distances[cell] = patches[row] as number;
      return {
        memoryId: memory.description.memoryId,
        grid,
        distances,
        matches: matches ? matchesOf(memory, table, near, cells) : null,
        extractMs: extracted - started,
        searchMs: performance.now() - extracted,
      };
    },
    describe: async (address) => (await load(address)).description,
    warm: async () => {
      await engine.warm();
      return (await openOnce()).device;
    },
    dispose: async () => {
      for (const memory of memories.values()) await memory.neighbors.dispose();
      memories.clear();
      await engine.dispose();
      await (await products)?.dispose();
      products = null;
      const opened = extractor;
      extractor = null;
      if (opened !== null) await (await opened).dispose();
    },
  };
}

/** NaN compares as smaller than every threshold: a part it touches would pass. */
function notFinite({ info }: Extractor): InspectionError {
  return new InspectionError(
    'not_a_number',
    `The extractor ${info.name} gives numbers for this picture that are not finite, so the picture can be neither fitted nor judged; check the model file and its precision (float16 overflows), or use another extractor.`,
  );
}

/** Where in the memory's pictures each patch found its nearest: by position where that counts for more. */
function matchesOf(
  { sources, position, description }: LoadedMemory,
  table: NeighborTable,
  near: PositionMatches | null,
  cells: Int32Array,
): PatchMatches | null {
  if (sources === null) return null;
  const { grid } = description;
  const picture = new Int32Array(grid.rows * grid.cols).fill(-1);
  const cell = new Int32Array(picture.length);
  const distance = new Float32Array(picture.length);
  const byPosition = near !== null && position !== null && position.weight >= 0.5;
  for (const [query, at] of cells.entries()) {
    const nearRow = byPosition ? (near.rows[query] as number) : -1;
    const bankRow = table.indices[query * table.k] as number;
    const found = nearRow < 0 ? null : position;
    picture[at] = (found?.picture[nearRow] ?? sources.picture[bankRow]) as number;
    cell[at] = found === null ? (sources.cell[bankRow] as number) : cellOfRow(found, nearRow);
    distance[at] = (found === null ? table.distances[query * table.k] : near?.distances[query]) as number;
  }
  return { picture, cell, distance };
}

/** Backs up the fingerprint for memories that have none: what cannot be compared must not be scored. */
function requireMatch(memory: MemoryDescription, embeddings: Matrix, grid: { rows: number; cols: number }): void {
  if (memory.cols === embeddings.cols && memory.grid.rows === grid.rows && memory.grid.cols === grid.cols) return;
  throw new InspectionError(
    'extractor_mismatch',
    `The memory holds ${memory.cols} numbers per patch on a ${memory.grid.rows} × ${memory.grid.cols} grid, the extractor in use gives ${embeddings.cols} on ${grid.rows} × ${grid.cols}; fit again, or start the service with the extractor the memory was made with.`,
  );
}
