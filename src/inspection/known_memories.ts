import { InspectionError } from '../errors.ts';
import type { IndexState, MemoryAddress, ModelStore } from '../store/model_store.ts';
import type { ModelPlace } from '../store/places.ts';
import type { MemoryDescription, Vision } from '../workers/vision.ts';
import type { Turns } from './turns.ts';

/** A memory that is there: where it lies, which file it is, and what the file says. */
export interface KnownMemory {
  readonly place: ModelPlace;
  readonly address: MemoryAddress;
  readonly memory: MemoryDescription;
}

/** What the files on disk say, read once per file and version. */
export interface KnownMemories {
  /**
   * The memory of a place, or null when it has none. A file that was described before costs one look at its stamp.
   *
   * @throws InspectionError `damaged_file`
   */
  at(place: ModelPlace): Promise<KnownMemory | null>;
  /**
   * Sees to it, beside the caller and once per version of the file, that the FAISS index beside a memory is the
   * memory's own; a missing or damaged one is written again. What was done goes to the hooks; nothing is thrown,
   * because no answer depends on the index.
   */
  checkIndex(known: KnownMemory): void;
  /** Resolves when no check is running. */
  idle(): Promise<void>;
}

export interface IndexHooks {
  readonly onIndexRebuilt: (place: ModelPlace, state: IndexState) => void;
  readonly onIndexFailed: (place: ModelPlace, error: unknown) => void;
}

/** Descriptions kept; one is a few hundred bytes. */
const capacity = 4096;

interface Entry {
  readonly stamp: string;
  readonly memory: MemoryDescription;
  indexChecked: boolean;
}

export function createKnownMemories(
  parts: {
    readonly vision: Pick<Vision, 'describe' | 'repairIndex'>;
    readonly models: Pick<ModelStore, 'address'>;
    /** A fit of the same place publishes its files in the same turn. */
    readonly turns: Turns;
  },
  hooks: IndexHooks,
): KnownMemories {
  // A Map keeps insertion order: the first key is the one unused for longest.
  const entries = new Map<string, Entry>();
  const checks = new Set<Promise<void>>();

  const entryOf = async (address: MemoryAddress): Promise<Entry> => {
    const found = entries.get(address.path);
    const entry =
      found?.stamp === address.stamp
        ? found
        : { stamp: address.stamp, memory: await parts.vision.describe(address), indexChecked: false };
    entries.delete(address.path);
    entries.set(address.path, entry);
    const [oldest] = entries.keys();
    if (entries.size > capacity && oldest !== undefined) entries.delete(oldest);
    return entry;
  };

  const check = async (place: ModelPlace): Promise<void> => {
    try {
      const state = await parts.turns.take(place.npzPath, () => parts.vision.repairIndex(place));
      if (state !== 'good' && state !== 'outdated') hooks.onIndexRebuilt(place, state);
    } catch (error) {
      hooks.onIndexFailed(place, error);
    }
  };

  return {
    at: async (place) => {
      const address = await parts.models.address(place);
      return address === undefined ? null : { place, address, memory: (await entryOf(address)).memory };
    },
    checkIndex: ({ place, address }) => {
      const entry = entries.get(address.path);
      if (entry === undefined || entry.indexChecked) return;
      entry.indexChecked = true;
      const running: Promise<void> = check(place).finally(() => checks.delete(running));
      checks.add(running);
    },
    idle: async () => {
      await Promise.all(checks);
    },
  };
}

/** Scores of two memories do not belong together, and a threshold belongs to one. */
export function replacedMeanwhile(): InspectionError {
  return new InspectionError(
    'not_ready',
    'The model was replaced while the samples were scored; send the request again.',
  );
}
