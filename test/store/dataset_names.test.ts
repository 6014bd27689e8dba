import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createSampleNames,
  isOwnMetaName,
  isSampleName,
  metaNameOf,
  sampleExtension,
  systemNameSources,
} from '../../src/store/dataset_names.ts';

const noonMs = Date.UTC(2024, 4, 1, 12, 0, 0, 7);

describe('sampleExtension', () => {
  it.each([
    ['part.PNG', 'png', 'png'],
    ['part.JPEG', 'jpeg', 'jpeg'],
    ['part.jfif', 'jpeg', 'jfif'],
    ['a.b.tif', 'tiff', 'tif'],
    // What the bytes are counts, not what the name says.
    ['part.png', 'jpeg', 'jpg'],
    ['part', 'tiff', 'tif'],
    ['', 'webp', 'webp'],
    ['.bmp', 'bmp', 'bmp'],
    ['x.png/../../y', 'png', 'png'],
    ['x.png\0.sh', 'png', 'png'],
  ] as const)('of %j proven %s is %s', (clientName, format, extension) => {
    expect(sampleExtension(clientName, format)).toBe(extension);
  });
});

describe('isSampleName', () => {
  it.each([
    'a.png',
    'A.PNG',
    '20240501-101112-345678.png',
    'x.json.webp',
    'Maße 1.TIFF',
    'a..jpg',
    '-.bmp',
    'x\ny.jpeg',
  ])('takes %j', (name) => expect(isSampleName(name)).toBe(true));

  it.each([
    '',
    '.',
    '..',
    '.png',
    '.tmp-1.png',
    'png',
    'a.json',
    'a.png.json',
    'a.svg',
    'a.png ',
    '../a.png',
    '/a.png',
  ])('refuses %j', (name) => expect(isSampleName(name)).toBe(false));

  it.each(['a/b.png', 'a.png/', 'a.png\0', 'a\0.png'])('refuses %j', (name) => expect(isSampleName(name)).toBe(false));
});

it('metaNameOf replaces the ending only', () => {
  expect(metaNameOf('a.png')).toBe('a.json');
  expect(metaNameOf('a.b.JPEG')).toBe('a.b.json');
  expect(metaNameOf('x.json.png')).toBe('x.json.json');
});

describe('createSampleNames', () => {
  const named = (times: readonly number[], token = '0123456789ab') => {
    const clock = times.values();
    const newName = createSampleNames({ nowMs: () => clock.next().value as number, token: () => token });
    return times.map(() => newName('png'));
  };

  it('says the time in UTC, and counts within a ms', () => {
    expect(named([noonMs, noonMs, noonMs + 1])).toEqual([
      '20240501-120000-007-0000-0123456789ab.png',
      '20240501-120000-007-0001-0123456789ab.png',
      '20240501-120000-008-0000-0123456789ab.png',
    ]);
  });

  it('ascends whatever the clock does', () => {
    const clock = fc.array(fc.integer({ min: noonMs - 5, max: noonMs + 5 }), { minLength: 2, maxLength: 50 });
    fc.assert(
      fc.property(clock, (times) => {
        const names = named(times);
        expect(new Set(names).size).toBe(names.length);
        expect(names.toSorted()).toEqual(names);
      }),
    );
  });

  it('goes on in the next ms when one is full', () => {
    const names = named(new Array(20_002).fill(noonMs));
    expect(names.slice(9999, 10_001)).toEqual([
      '20240501-120000-007-9999-0123456789ab.png',
      '20240501-120000-008-0000-0123456789ab.png',
    ]);
    expect(names.at(-1)).toBe('20240501-120000-009-0001-0123456789ab.png');
  });

  it('sorts by time among the names of the predecessor', () => {
    const [ours = ''] = named([noonMs]);
    const theirs = ['20240501-115959-999999.png', '20240501-120000-006999.png', '20240501-120000-008000.png'];
    expect([ours, ...theirs].sort()).toEqual([...theirs.slice(0, 2), ours, ...theirs.slice(2)]);
  });

  it('gives two processes different names at the same moment', () => {
    const nowMs = () => noonMs;
    const one = createSampleNames({ ...systemNameSources, nowMs });
    const other = createSampleNames({ ...systemNameSources, nowMs });
    const names = Array.from({ length: 1000 }, () => [one('jpg'), other('jpg')]).flat();
    expect(new Set(names).size).toBe(2000);
    for (const name of names) {
      expect(isSampleName(name)).toBe(true);
      expect(isOwnMetaName(metaNameOf(name))).toBe(true);
    }
  });
});

it('isOwnMetaName takes no meta for ours that someone else may have put there', () => {
  for (const name of ['a.json', '20240501-120000-007000.json', '20240501-120000-007-0000-0123456789ab.png']) {
    expect(isOwnMetaName(name), name).toBe(false);
  }
});
