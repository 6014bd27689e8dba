import { basename } from 'node:path';
import { InspectionError } from '../errors.ts';
import type { ReadMemory } from '../store/generations.ts';
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

/** What tells a memory's generation. */
export function readMemoryOf({ address, memory }: KnownMemory): ReadMemory {
  return { stamp: address.stamp, memoryId: memory.memoryId, generation: memory.generation };
}

/** What the files on disk say, read once per file and version. */
export interface KnownMemories {
  /**
   * The memory of a place, or null when it has none. A file that was described before costs one look at its stamp. One
   * that cannot be read is set aside, and the newest good generation of the place answers instead.
   *
   * @throws InspectionError `damaged_file` when there is no good one
   */
  at(place: ModelPlace): Promise<KnownMemory | null>;
  /**
   * Sees to it, beside the caller and once per version of the file, that the FAISS index beside a memory is the
   * memory's own; a missing or damaged one is written again. What was done goes to the hooks; nothing is thrown,
   * because no answer depends on the index.
   */
  checkIndex(known: KnownMemory): void;
  /** Describes the memory anew when it is asked for next: its file turned out to be damaged. */
  forget(known: KnownMemory): void;
  /** Memories that were damaged, in sentences for the people who run the service: until they are replaced. */
  problems(): readonly string[];
  /** Resolves when no check is running. */
  idle(): Promise<void>;
}

export interface IndexHooks {
  readonly onIndexRebuilt: (place: ModelPlace, state: IndexState) => void;
  readonly onIndexFailed: (place: ModelPlace, error: unknown) => void;
  /** @param restored the generation that answers now; null: there is no good one */
  readonly onDamaged: (place: ModelPlace, restored: number | null, error: InspectionError) => void;
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
    readonly models: Pick<ModelStore, 'address' | 'generations'>;
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

  /** By path: what became of a damaged memory, and the stamp of the file that lies there now. */
  const damaged = new Map<string, { readonly stamp: string | undefined; readonly problem: string }>();

  /** Whether it is worth another look: the file is a good one now, or at least another one. */
  const replaceDamaged = async (place: ModelPlace, stamp: string, error: InspectionError): Promise<boolean> => {
    const { npzPath } = place;
    if (damaged.get(npzPath)?.stamp === stamp) return false;
    const replacement = await parts.models.generations.replaceDamaged(place, stamp);
    if (replacement === 'changed') return true;
    const restored = replacement === 'no_good_one' ? null : replacement.generation;
    const file = [...place.segments, basename(npzPath)].join('/');
    const problem =
      restored === null
        ? `The memory '${file}' is damaged, and no earlier generation of it is good; restore it from a backup or fit it again.`
        : `The memory '${file}' was damaged and was set aside; its generation ${restored} answers. Fit it again, or restore it from a backup.`;
    damaged.set(npzPath, { stamp: (await parts.models.address(place))?.stamp, problem });
    hooks.onDamaged(place, restored, error);
    return restored !== null;
  };

  const known = async (place: ModelPlace): Promise<KnownMemory | null> => {
    const address = await parts.models.address(place);
    if (address === undefined) return null;
    if (damaged.get(address.path)?.stamp !== address.stamp) damaged.delete(address.path);
    try {
      return { place, address, memory: (await entryOf(address)).memory };
    } catch (error) {
      if (!(error instanceof InspectionError) || error.code !== 'damaged_file') throw error;
      const replaced = parts.turns.take(`damaged ${place.npzPath}`, () => replaceDamaged(place, address.stamp, error));
      if (await replaced) return await known(place);
      throw error;
    }
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
    at: known,
    forget: ({ address }) => {
      entries.delete(address.path);
    },
    problems: () => [...damaged.values()].map(({ problem }) => problem),
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
