/**
 * The process that faiss-node lives in: what it does to this process (it aborts on k = 0, keeps a copy of every query for
 * ever) it does to no other. Started with the addon's path by `faiss_process.ts`, which asks one thing at a time.
 */
import { createRequire } from 'node:module';

export type FaissRequest =
  | { readonly do: 'add'; readonly bank: number; readonly cols: number; readonly rows: Float32Array }
  | { readonly do: 'search'; readonly bank: number; readonly queries: Float32Array; readonly count: number }
  | { readonly do: 'drop'; readonly bank: number };

export interface FaissAnswer {
  /** Bytes of resident memory of this process. */
  readonly resident: number;
  /** Of a search. */
  readonly candidates: Candidates | null;
  readonly error: string | null;
}

/** What FAISS takes for the nearest rows, nearest first. */
export interface Candidates {
  /** [queries · count] rows; -1 where it found none */
  readonly rows: Int32Array;
  /** [queries · count] squared distances as float32 gives them */
  readonly scores: Float32Array;
}

/** Of faiss-node, what is used here. */
interface FaissNode {
  readonly IndexFlatL2: new (
    cols: number,
  ) => {
    add(rows: readonly number[]): void;
    search(
      queries: readonly number[],
      count: number,
    ): { readonly distances: readonly number[]; readonly labels: readonly number[] };
    ntotal(): number;
  };
}

type FlatIndex = InstanceType<FaissNode['IndexFlatL2']>;

let faiss: FaissNode;
const indices = new Map<number, FlatIndex>();

// A signal to the whole group is for the service, which may still want an answer; this process ends with it.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('disconnect', () => process.exit());
process.on('message', (request: FaissRequest) =>
  answer(() => (request.do === 'search' ? search(request) : change(request))),
);
answer(() => {
  faiss = createRequire(import.meta.url)(process.argv[2] as string) as FaissNode;
  return null;
});

function answer(work: () => Candidates | null): void {
  let candidates: Candidates | null = null;
  let error: string | null = null;
  try {
    candidates = work();
  } catch (thrown) {
    error = String(thrown);
  }
  process.send?.({ resident: process.memoryUsage.rss(), candidates, error } satisfies FaissAnswer);
}

function change(request: Exclude<FaissRequest, { readonly do: 'search' }>): null {
  if (request.do === 'drop') {
    indices.delete(request.bank);
    // Node knows nothing of the size of an index and would be slow to collect it.
    globalThis.gc?.();
    return null;
  }
  const index = indices.get(request.bank) ?? new faiss.IndexFlatL2(request.cols);
  indices.set(request.bank, index);
  index.add(plainArray(request.rows));
  return null;
}

function search({ bank, queries, count }: Extract<FaissRequest, { readonly do: 'search' }>): Candidates {
  const index = indices.get(bank);
  if (index === undefined || !(count >= 1 && count <= index.ntotal())) throw new Error(`no ${count} rows in ${bank}`);
  const { distances, labels } = index.search(plainArray(queries), count);
  return { rows: Int32Array.from(labels), scores: Float32Array.from(distances) };
}

/** faiss-node takes no typed arrays; Array.from takes eight times as long. */
function plainArray(numbers: Float32Array): number[] {
  const plain = new Array<number>(numbers.length);
  for (let i = 0; i < numbers.length; i++) plain[i] = numbers[i] as number;
  return plain;
}
