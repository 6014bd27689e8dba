import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** `contract.md` says which test holds which promise; here it is held to what the test files say. */

const testFile = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));

interface Title {
  readonly text: string;
  /** Columns before the line it stands on: what is further in belongs to it. */
  readonly indent: number;
}

/** The first argument of a call whose second is a function or its options: `it`, `describe` and what `.each` returns. */
const titleCall =
  /(?<!\.(?:skip|todo))\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1,\s*(?=\{|\(|async\b|function\b|[a-z_]\w* =>)/g;

function titlesOf(source: string): readonly Title[] {
  return [...source.matchAll(titleCall)].map(({ index, 2: text = '' }) => ({
    text: text.replace(/\\(.)/g, '$1'),
    indent: /^ */.exec(source.slice(source.lastIndexOf('\n', index) + 1))?.[0].length ?? 0,
  }));
}

/** Whether titles stand one inside the other, as `describe › it` does; the first may be anywhere. */
function holds(titles: readonly Title[], [first, ...inner]: readonly string[]): boolean {
  return titles.some(({ text, indent }, i) => {
    if (text !== first) return false;
    if (inner.length === 0) return true;
    const end = titles.findIndex((other, k) => k > i && other.indent <= indent);
    return holds(titles.slice(i + 1, end < 0 ? undefined : end), inner);
  });
}

interface Row {
  readonly section: string;
  readonly promise: string;
  /** File and titles, outermost first. */
  readonly tests: readonly (readonly string[])[];
}

function rowsOf(map: string): readonly Row[] {
  let section = '';
  return map.split('\n').flatMap((line): readonly Row[] => {
    if (line.startsWith('## ')) section = line.slice(3);
    const [, promise, tests] = /^\| (.*) \| (.*) \|$/.exec(line) ?? [];
    if (promise === undefined || tests === undefined || promise === 'Promise') return [];
    return [{ section, promise, tests: tests.split('<br>').map((test) => test.split(' › ')) }];
  });
}

/** What a row names and the files do not hold. */
function missingOf({ tests }: Row, sourceOf: (file: string) => string | undefined): readonly string[] {
  const isThere = ([file = '', ...titles]: readonly string[]) =>
    titles.length > 0 && holds(titlesOf(sourceOf(file) ?? ''), titles);
  return tests.filter((test) => !isThere(test)).map((test) => test.join(' › '));
}

const readTest = (file: string) => (existsSync(testFile(file)) ? readFileSync(testFile(file), 'utf8') : undefined);

describe('the map of the contract', () => {
  const rows = rowsOf(readFileSync(testFile('http/contract.md'), 'utf8'));

  it('has every section', () => {
    const sections = [...new Set(rows.map(({ section }) => section))];
    expect(sections.map((section) => section.slice(0, 2))).toEqual(['0.', '1.', '2.', '3.', '4.']);
    expect(rows.length).toBeGreaterThan(80);
  });

  it.each(rows)('names tests that are there: $section, $promise', (row) => {
    expect(missingOf(row, readTest)).toEqual([]);
  });
});

describe('the map of a contract with mistakes', () => {
  const source = `
describe('a block', () => {
  it("is 'held'", () => {});
  it.each([
    ['x', 1],
  ])('is held for %s', async (_, n) => {});
  it.skip('is skipped', () => {});
});
describe.each(all)('another', (one) => {
  it.each(long)(
    'is wrapped',
    { timeout: 5 },
    async () => {},
  );
});
`;
  const missing = (test: string) =>
    missingOf({ section: '', promise: '', tests: [test.split(' › ')] }, (file) => (file === 'a' ? source : undefined));

  it.each(["a › a block › is 'held'", "a › is 'held'", 'a › a block › is held for %s', 'a › another › is wrapped'])(
    'finds %s',
    (test) => expect(missing(test)).toEqual([]),
  );

  it.each([
    ['a file that is not there', "b › a block › is 'held'"],
    ['a file without a test', 'a'],
    ['another title', 'a › a block › is held'],
    ['a test of another block', "a › another › is 'held'"],
    ['a test that is skipped', 'a › a block › is skipped'],
    ['text that is no title', 'a › x'],
  ])('notices %s', (_, test) => expect(missing(test)).toEqual([test]));
});
