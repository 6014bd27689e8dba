import { InspectionError } from '../errors.ts';
import { normalizeRowsInPlace } from '../kernels/row_loops.ts';
import type { Neighbors, NeighborsEngineName, NeighborTable } from '../neighbors/neighbors.ts';
import { neighborsEngine } from '../neighbors/neighbors_engine.ts';
import { createOnnxProducts, type OnnxProducts } from '../neighbors/onnx_products.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { cellOfRow, type PatchSources, type PositionMemory } from '../patchcore/position_memory.ts';
import { mixDistances, nearestByPosition, type PositionMatches } from '../patchcore/position_search.ts';
import { openBankRows } from '../store/bank_rows.ts';
import { besidesBank, readModelMemory } from '../store/model_memory.ts';
import type { MemoryAddress } from '../store/model_store.ts';
import { describeMemory } from './describe_memory.ts';
import { type ExtractedPicture, notFinite } from './extracted_picture.ts';
import type { MeasuredPicture, MemoryDescription, PatchMatches } from './vision.ts';

/** The steps that need a loaded bank. One per thread: a bank is not safe for concurrent calls. */
export interface BankSteps {
  /**
   * Makes unit rows of the embeddings, where they lie.
   *
   * @throws InspectionError `damaged_file`; `extractor_mismatch` when widths or grids differ; `not_a_number`
   */
  search(picture: ExtractedPicture, memory: MemoryAddress, matches?: boolean): Promise<SearchedPicture>;
  describe(memory: MemoryAddress): Promise<MemoryDescription>;
  warm(): Promise<void>;
  dispose(): Promise<void>;
}

export type SearchedPicture = Omit<MeasuredPicture, 'extractMs'>;

export interface BankSettings {
  /** Of one search. */
  readonly threads: number;
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

/** Banks that read rows from their files, which stay open: sockets and uploads need some of those that a process may have. */
const mostOpenFiles = 256;

/** Loads each bank on first use, again when its file has changed. */
export function createBankSteps(settings: BankSettings): BankSteps {
  let products: Promise<OnnxProducts> | null = null;
  const engine = neighborsEngine(settings.neighbors, { threads: settings.threads });
  // A Map keeps insertion order: the first key is the one unused for longest.
  const memories = new Map<string, LoadedMemory>();

  const load = async ({ path, stamp }: MemoryAddress): Promise<LoadedMemory> => {
    const cached = memories.get(path);
    memories.delete(path);
    if (cached !== undefined && cached.stamp === stamp) {
      memories.set(path, cached);
      return cached;
    }
    await cached?.neighbors.dispose();
    const memory = await readModelMemory(path);
    const neighbors = await engine.open(memory.bank, () => openBankRows(path, memory));
    const { position, sources } = neighbors.keepsBank ? memory : besidesBank(memory);
    const loaded: LoadedMemory = {
      // The stamp of what was read: the file may have been replaced since the caller looked.
      stamp: memory.stamp,
      bytes: neighbors.bytes + (position?.rows.data.byteLength ?? 0),
      position,
      sources,
      neighbors,
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
    const files = ({ neighbors }: LoadedMemory) => (neighbors.keepsBank ? 0 : 1);
    let bytes = [...memories.values()].reduce((sum, memory) => sum + memory.bytes, 0);
    let open = [...memories.values()].reduce((sum, memory) => sum + files(memory), 0);
    for (const [path, memory] of memories) {
      if ((bytes <= settings.bankCacheBytes && open <= mostOpenFiles) || memories.size === 1) return;
      memories.delete(path);
      bytes -= memory.bytes;
      open -= files(memory);
      await memory.neighbors.dispose();
    }
  };

  return {
    search: async ({ embeddings, grid, cells, extractorName }, address, matches = false) => {
      const memory = await load(address);
      const started = performance.now();
      requireMatch(memory.description, embeddings.cols, grid);
      if (!normalizeRowsInPlace(embeddings)) throw notFinite(extractorName);
      const table = await memory.neighbors.search(embeddings, 1);
      const near =
        memory.position === null
          ? null
          : await nearestByPosition(embeddings, cells, memory.position, (await openProducts()).products);
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
        searchMs: performance.now() - started,
      };
    },
    describe: async (address) => (await load(address)).description,
    warm: async () => {
      await Promise.all([engine.warm(), openProducts()]);
    },
    dispose: async () => {
      for (const memory of memories.values()) await memory.neighbors.dispose();
      memories.clear();
      await engine.dispose();
      await (await products)?.dispose();
      products = null;
    },
  };
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
function requireMatch(memory: MemoryDescription, cols: number, grid: PatchGrid): void {
  if (memory.cols === cols && memory.grid.rows === grid.rows && memory.grid.cols === grid.cols) return;
  throw new InspectionError(
    'extractor_mismatch',
    `The memory holds ${memory.cols} numbers per patch on a ${memory.grid.rows} × ${memory.grid.cols} grid, the extractor in use gives ${cols} on ${grid.rows} × ${grid.cols}; fit again, or start the service with the extractor the memory was made with.`,
  );
}
