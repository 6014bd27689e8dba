import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copiesOf, createDuplicateSearch, type Fingerprinted } from '../../src/inspection/duplicate_search.ts';

/** A sketch that lies `steps` from zero; two are near when they are at most 7 steps apart. */
const sketchAt = (steps: number) => {
  const numbers = new Int8Array(64);
  numbers[0] = steps;
  return `s8:${Buffer.from(numbers.buffer).toString('base64')}`;
};

const sample = (filename: string, bytes: string, steps?: number, label: 'ok' | 'ng' = 'ok'): Fingerprinted => ({
  label,
  filename,
  fingerprint: { sha256: bytes, perceptual: steps === undefined ? undefined : sketchAt(steps) },
});

const names = (samples: readonly { readonly filename: string }[]) => samples.map(({ filename }) => filename);

describe('copiesOf', () => {
  const stored = [sample('a', 'A', 0), sample('b', 'B', 7), sample('c', 'C', 8, 'ng'), sample('d', 'D')];

  it('tells the same bytes from the same looks', () => {
    const { exact, near } = copiesOf({ sha256: 'A', perceptual: sketchAt(0) }, stored);
    expect([names(exact), names(near)]).toEqual([['a'], ['b']]);
    expect(copiesOf({ sha256: 'x', perceptual: sketchAt(15) }, stored)).toEqual({
      exact: [],
      near: [{ label: 'ng', filename: 'c' }],
    });
  });

  it('compares by bytes only what has no sketch, or one of another maker', () => {
    expect(names(copiesOf({ sha256: 'D' }, stored).exact)).toEqual(['d']);
    expect(copiesOf({ sha256: 'E', perceptual: 'other' }, [sample('e', 'F'), ...stored])).toEqual({
      exact: [],
      near: [],
    });
  });
});

describe('createDuplicateSearch', () => {
  const groupsOf = async (samples: readonly Fingerprinted[]) =>
    (await createDuplicateSearch().groups('d', samples)).map(({ kind, samples: of }) => [kind, ...names(of)]);

  it('groups the same bytes, and what is near one of the group', async () => {
    expect(
      await groupsOf([
        sample('1', 'A', 0),
        sample('2', 'B', 60),
        sample('3', 'A', 0),
        sample('4', 'C', 7),
        sample('5', 'D', 14),
        sample('6', 'E', 100),
      ]),
    ).toEqual([
      ['exact', '1', '3'],
      ['near', '1', '3', '4', '5'],
    ]);
  });

  it('does not call the same bytes near one another, and finds nothing among different pictures', async () => {
    expect(await groupsOf([sample('1', 'A', 0), sample('2', 'A', 0)])).toEqual([['exact', '1', '2']]);
    expect(await groupsOf([sample('1', 'A', 0), sample('2', 'B', 8), sample('3', 'C')])).toEqual([]);
    expect(await groupsOf([])).toEqual([]);
  });

  it('finds a picture that is both good and bad', async () => {
    const [group] = await createDuplicateSearch().groups('d', [sample('1', 'A', 0), sample('1', 'A', 0, 'ng')]);
    expect(group?.samples).toEqual([
      { label: 'ok', filename: '1' },
      { label: 'ng', filename: '1' },
    ]);
  });

  it('says the same after any additions and removals as one that sees the last state only', async () => {
    const states = fc.array(fc.uniqueArray(fc.nat(14), { maxLength: 12 }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(states, fc.array(fc.nat(40), { minLength: 15, maxLength: 15 }), async (of, steps) => {
        const search = createDuplicateSearch();
        const at = (numbers: readonly number[]) =>
          [...numbers].sort((a, b) => a - b).map((i) => sample(String(i), String((steps[i] as number) % 9), steps[i]));
        for (const numbers of of) {
          expect(await search.groups('d', at(numbers))).toEqual(await createDuplicateSearch().groups('d', at(numbers)));
        }
      }),
    );
  });

  it('is right about what is near whom, against a plain search', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(60), { maxLength: 15 }), async (steps) => {
        const samples = steps.map((step, i) => sample(String(i), `bytes ${i}`, step));
        // Along one line, near pictures are those without a gap of more than 7 steps between them.
        const sorted = steps.map((step, i) => ({ step, i })).sort((a, b) => a.step - b.step);
        const groups: number[][] = [];
        for (const [place, { step, i }] of sorted.entries()) {
          const before = sorted[place - 1];
          if (before !== undefined && step - before.step <= 7) groups.at(-1)?.push(i);
          else groups.push([i]);
        }
        const expected = groups
          .filter(({ length }) => length > 1)
          .map((group) => group.sort((a, b) => a - b).map(String));
        const found = (await createDuplicateSearch().groups('d', samples)).map(({ samples: of }) => names(of));
        expect(found.sort()).toEqual(expected.sort());
      }),
    );
  });

  it('keeps datasets apart, also when they are asked at once', async () => {
    const search = createDuplicateSearch();
    const twins = [sample('1', 'A', 0), sample('2', 'B', 1)];
    const [one, other] = await Promise.all([search.groups('a', twins), search.groups('b', [sample('1', 'A', 0)])]);
    expect([one.length, other.length]).toEqual([1, 0]);
  });

  it('lets others have their turn in a large dataset', async () => {
    let turns = 0;
    let searching = true;
    const take = () => {
      turns++;
      if (searching) setImmediate(take);
    };
    setImmediate(take);
    const many = Array.from({ length: 1200 }, (_, i) => sample(String(i), `bytes ${i}`, i % 127));
    await createDuplicateSearch().groups('d', many);
    searching = false;
    expect(turns).toBeGreaterThan(3);
  });
});
