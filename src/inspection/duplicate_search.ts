import { setImmediate } from 'node:timers/promises';
import { isNearDuplicate, sketchNumbers } from '../images/picture_sketch.ts';
import type { Fingerprint } from '../store/sample_meta.ts';
import type { SampleRef } from './dataset_sample.ts';
import { createTurns } from './turns.ts';

/** A sample and what it has in common with its copies. */
export interface Fingerprinted extends SampleRef {
  readonly fingerprint: Fingerprint;
}

/** Samples that show one picture. `exact`: the same bytes. `near`: not all the same bytes; each is like another of them. */
export interface DuplicateGroup {
  readonly kind: 'exact' | 'near';
  readonly samples: readonly SampleRef[];
}

/** What of a dataset a new picture is a copy of. */
export interface Copies {
  readonly exact: readonly SampleRef[];
  readonly near: readonly SampleRef[];
}

/** Pictures of another maker, or of a version without sketches, are compared by their bytes only. */
export function copiesOf(one: Fingerprint, among: readonly Fingerprinted[]): Copies {
  const sketch = sketchOf(one);
  const isExact = ({ fingerprint }: Fingerprinted) => fingerprint.sha256 === one.sha256;
  const isNear = ({ fingerprint }: Fingerprinted) => areNear(sketch, sketchOf(fingerprint));
  return {
    exact: among.filter(isExact).map(refOf),
    near: among.filter((other) => !isExact(other) && isNear(other)).map(refOf),
  };
}

/** Finds the duplicates of whole datasets. */
export interface DuplicateSearch {
  /**
   * Every group of at least two samples, exact ones first, each in the order of the samples.
   *
   * Cost: the first call compares every pair (some 80 ns each: a second for 5,000 samples, given back to others every few
   * ms), later ones only what is new.
   *
   * @param dataset a name for it: what was found is remembered under this name
   */
  groups(dataset: string, samples: readonly Fingerprinted[]): Promise<readonly DuplicateGroup[]>;
}

/** Datasets remembered; one of 5,000 samples is about 2 MB. */
const capacity = 16;

/** Comparisons before others get their turn: a few ms. */
const patience = 50_000;

interface Entry {
  readonly sketch: Int8Array | null;
  component: Component;
}

/** Samples each of which is near another: connected by nearness. */
type Component = Set<string>;

export function createDuplicateSearch(): DuplicateSearch {
  const turns = createTurns();
  // A Map keeps insertion order: the first key is the one unused for longest.
  const remembered = new Map<string, Map<string, Entry>>();

  return {
    groups: (dataset, samples) =>
      turns.take(dataset, async () => {
        const entries = remembered.get(dataset) ?? new Map<string, Entry>();
        remembered.delete(dataset);
        remembered.set(dataset, entries);
        const [oldest] = remembered.keys();
        if (remembered.size > capacity && oldest !== undefined) remembered.delete(oldest);
        await update(entries, samples);
        return [...exactGroups(samples), ...nearGroups(entries, samples)];
      }),
  };
}

/** Brings the components up to date: what is gone leaves its own only, what is new is compared with all. */
async function update(entries: Map<string, Entry>, samples: readonly Fingerprinted[]): Promise<void> {
  const present = new Set(samples.map(idOf));
  const torn = new Set<Component>();
  for (const [id, { component }] of entries) if (!present.has(id)) torn.add(component);
  const unplaced = new Map<string, Int8Array | null>();
  for (const component of torn) {
    for (const id of component) {
      if (present.has(id)) unplaced.set(id, entries.get(id)?.sketch ?? null);
      entries.delete(id);
    }
  }
  for (const sample of samples) {
    const id = idOf(sample);
    if (!entries.has(id) && !unplaced.has(id)) unplaced.set(id, sketchOf(sample.fingerprint));
  }
  let compared = 0;
  for (const [id, sketch] of unplaced) {
    place(entries, id, sketch);
    compared += entries.size;
    if (compared > patience) {
      compared = 0;
      await setImmediate();
    }
  }
}

function place(entries: Map<string, Entry>, id: string, sketch: Int8Array | null): void {
  let component: Component = new Set([id]);
  entries.set(id, { sketch, component });
  for (const other of entries.values()) {
    if (other.component === component || !areNear(sketch, other.sketch)) continue;
    const [large, small] =
      other.component.size > component.size ? [other.component, component] : [component, other.component];
    for (const member of small) {
      large.add(member);
      (entries.get(member) as Entry).component = large;
    }
    component = large;
  }
}

function exactGroups(samples: readonly Fingerprinted[]): readonly DuplicateGroup[] {
  return groupsBy(samples, ({ fingerprint }) => fingerprint.sha256)
    .filter((same) => same.length > 1)
    .map((same) => ({ kind: 'exact', samples: same.map(refOf) }));
}

function nearGroups(entries: ReadonlyMap<string, Entry>, samples: readonly Fingerprinted[]): readonly DuplicateGroup[] {
  return groupsBy(samples, (sample) => entries.get(idOf(sample))?.component)
    .filter((alike) => new Set(alike.map(({ fingerprint }) => fingerprint.sha256)).size > 1)
    .map((alike) => ({ kind: 'near', samples: alike.map(refOf) }));
}

function groupsBy<T>(items: readonly T[], keyOf: (item: T) => unknown): readonly (readonly T[])[] {
  const groups = new Map<unknown, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return [...groups.values()];
}

function idOf({ label, filename }: SampleRef): string {
  return `${label}/${filename}`;
}

function refOf({ label, filename }: SampleRef): SampleRef {
  return { label, filename };
}

function sketchOf({ perceptual }: Fingerprint): Int8Array | null {
  return perceptual === undefined ? null : sketchNumbers(perceptual);
}

function areNear(a: Int8Array | null, b: Int8Array | null): boolean {
  return a !== null && b !== null && isNearDuplicate(a, b);
}
