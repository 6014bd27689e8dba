import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heatmapFiles } from '../../src/command_line/heatmap_files.ts';

const heatmap = (...names: string[]) => `${join('out', ...names)}_heatmap.png`;

describe('heatmapFiles', () => {
  it.each([
    [
      ['test/good/01.jpg', 'test/good/02.jpg'],
      [heatmap('01.jpg'), heatmap('02.jpg')],
    ],
    [
      ['test/good/01.jpg', 'test/scratch/01.jpg'],
      [heatmap('good', '01.jpg'), heatmap('scratch', '01.jpg')],
    ],
    [
      ['a/01.jpg', 'a/01.png'],
      [heatmap('01.jpg'), heatmap('01.png')],
    ],
    [
      ['a/01.jpg', 'a/b/01.jpg'],
      [heatmap('01.jpg'), heatmap('b', '01.jpg')],
    ],
    [
      ['../01.jpg', './01.jpg'],
      [heatmap('01.jpg'), heatmap(join(resolve('.').split(/[\\/]/).at(-1) ?? ''), '01.jpg')],
    ],
    [[], []],
  ])('keeps %j apart by their folders', (pictures, expected) => {
    expect([...heatmapFiles('out', pictures).values()]).toEqual(expected);
  });

  it('gives different pictures different files, all inside the folder', () => {
    const name = fc.constantFrom('a', 'b', 'ab', '..', '.', 'a.jpg', 'a.png', 'c:');
    const path = fc.array(name, { maxLength: 4 }).map((names) => [...names, 'x.jpg'].join('/'));
    fc.assert(
      fc.property(fc.array(path, { minLength: 1, maxLength: 8 }), (pictures) => {
        const files = heatmapFiles('out', pictures);
        const pictureOf = new Map([...files].map(([picture, file]) => [resolve(file), resolve(picture)]));
        expect(pictureOf.size).toBe(new Set(pictures.map((picture) => resolve(picture))).size);
        for (const file of files.values()) expect(resolve(file).startsWith(resolve('out'))).toBe(true);
      }),
    );
  });
});
