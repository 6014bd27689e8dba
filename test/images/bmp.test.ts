import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBmp } from '../../src/images/bmp.ts';

interface Bitmap {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly compression?: number;
  readonly pixels: readonly number[];
  /** BGR triples. */
  readonly palette?: readonly (readonly [number, number, number])[];
  readonly masks?: readonly number[];
}

/** Writes a bitmap with the 40-byte header; a negative height is top-down. */
function bmp({ width, height, bits, compression = 0, pixels, palette = [], masks = [] }: Bitmap): Uint8Array {
  const offset = 54 + masks.length * 4 + palette.length * 4;
  const bytes = Buffer.alloc(offset + pixels.length);
  bytes.write('BM');
  bytes.writeUInt32LE(bytes.length, 2);
  bytes.writeUInt32LE(offset, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(width, 18);
  bytes.writeInt32LE(height, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(bits, 28);
  bytes.writeUInt32LE(compression, 30);
  bytes.writeUInt32LE(palette.length, 46);
  for (const [i, mask] of masks.entries()) bytes.writeUInt32LE(mask, 54 + i * 4);
  for (const [i, entry] of palette.entries()) bytes.set(entry, 54 + masks.length * 4 + i * 4);
  bytes.set(pixels, offset);
  return new Uint8Array(bytes);
}

const decode = (bitmap: Bitmap) => [...decodeBmp(bmp(bitmap), 'x.bmp', 1000).data];
const palette = [
  [1, 2, 3],
  [10, 20, 30],
] as const;

describe('decodeBmp', () => {
  it('reads 24 bits bottom-up, rows padded to four bytes', () => {
    const pixels = [3, 2, 1, 6, 5, 4, 0, 0, 9, 8, 7, 12, 11, 10, 0, 0];
    expect(decode({ width: 2, height: 2, bits: 24, pixels })).toEqual([7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6]);
    expect(decode({ width: 2, height: -2, bits: 24, pixels })).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('reads 32 bits and drops the fourth byte', () => {
    expect(decode({ width: 1, height: 1, bits: 32, pixels: [3, 2, 1, 0] })).toEqual([1, 2, 3]);
  });

  it('reads bit fields of any order', () => {
    const masks = [0x000000ff, 0x0000ff00, 0x00ff0000];
    expect(decode({ width: 1, height: 1, bits: 32, compression: 3, masks, pixels: [1, 2, 3, 0] })).toEqual([1, 2, 3]);
    const rgb565 = { width: 2, height: 1, bits: 16, compression: 3, masks: [0xf800, 0x07e0, 0x001f] };
    expect(decode({ ...rgb565, pixels: [0xff, 0xff, 0x00, 0xf8] })).toEqual([255, 255, 255, 255, 0, 0]);
    const high = [0xff000000, 0x00ff0000, 0x0000ff00];
    expect(decode({ width: 1, height: 1, bits: 32, compression: 3, masks: high, pixels: [0, 3, 2, 255] })).toEqual([
      255, 2, 3,
    ]);
  });

  it('reads 16 bits as 5-5-5', () => {
    expect(decode({ width: 2, height: 1, bits: 16, pixels: [0x00, 0x7c, 0x1f, 0x00] })).toEqual([255, 0, 0, 0, 0, 255]);
  });

  it.each([
    [1, [0b01000000, 0, 0, 0]],
    [4, [0x01, 0, 0, 0]],
    [8, [0, 1, 0, 0]],
  ])('reads %i bits through the palette', (bits, pixels) => {
    expect(decode({ width: 2, height: 1, bits, palette, pixels })).toEqual([3, 2, 1, 30, 20, 10]);
  });

  it('reads runs, literals, jumps and line ends of RLE8', () => {
    const pixels = [2, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1];
    const image = decode({ width: 3, height: 2, bits: 8, compression: 1, palette, pixels });
    const [zero, one] = [
      [3, 2, 1],
      [30, 20, 10],
    ] as const;
    expect(image).toEqual([...one, ...zero, ...one, ...one, ...one, ...zero]);
  });

  it('reads RLE4', () => {
    const pixels = [3, 0x10, 0, 1];
    expect(decode({ width: 3, height: 1, bits: 4, compression: 2, palette, pixels })).toEqual([
      30, 20, 10, 3, 2, 1, 30, 20, 10,
    ]);
  });

  it('takes runs, literals and jumps at any place, also beyond the right edge', () => {
    const colours = Array.from({ length: 16 }, (_, i) => [i * 3, i * 5, i * 7] as const);
    const nibble = fc.integer({ min: 0, max: 15 });
    const step = fc.oneof(
      fc.record({ kind: fc.constant('run' as const), count: fc.integer({ min: 1, max: 20 }), a: nibble, b: nibble }),
      fc.record({ kind: fc.constant('literal' as const), values: fc.array(nibble, { minLength: 3, maxLength: 9 }) }),
      fc.record({ kind: fc.constant('jump' as const), dx: fc.nat(4), dy: fc.nat(2) }),
      fc.record({ kind: fc.constant('line' as const) }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 6 }),
        fc.array(step, { maxLength: 20 }),
        fc.constantFrom(4, 8),
        fc.boolean(),
        (width, height, steps, bits, topDown) => {
          const bytes: number[] = [];
          const expected = Array.from({ length: height }, () => Array.from({ length: width }, () => 0));
          let x = 0;
          let y = 0;
          const put = (value: number) => {
            const row = expected[y];
            if (row !== undefined && x < width) row[x] = value;
            x++;
          };
          for (const one of steps) {
            if (y >= height) break;
            if (one.kind === 'run') {
              bytes.push(one.count, bits === 8 ? one.a : one.a * 16 + one.b);
              for (let i = 0; i < one.count; i++) put(bits === 8 || i % 2 === 0 ? one.a : one.b);
            } else if (one.kind === 'literal') {
              const packed =
                bits === 8
                  ? one.values
                  : one.values.flatMap((value, i) => (i % 2 === 0 ? [value * 16 + (one.values[i + 1] ?? 0)] : []));
              bytes.push(0, one.values.length, ...packed, ...(packed.length % 2 === 1 ? [0] : []));
              for (const value of one.values) put(value);
            } else if (one.kind === 'jump') {
              bytes.push(0, 2, one.dx, one.dy);
              x += one.dx;
              y += one.dy;
            } else {
              bytes.push(0, 0);
              x = 0;
              y++;
            }
          }
          const image = decode({
            width,
            height: topDown ? -height : height,
            bits,
            compression: bits === 8 ? 1 : 2,
            palette: colours,
            pixels: [...bytes, 0, 1],
          });
          const rows = topDown ? expected : expected.toReversed();
          expect(image).toEqual(rows.flat().flatMap((value) => [value * 7, value * 5, value * 3]));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('fills what no run reaches at once: a small file may claim many pixels', () => {
    const bytes = bmp({ width: 6000, height: 6000, bits: 8, compression: 1, palette, pixels: [0, 1] });
    const started = performance.now();
    const { data } = decodeBmp(bytes, 'x.bmp', 64e6);
    // Pixel by pixel it took seconds; a generous bound, for slow machines.
    expect(performance.now() - started).toBeLessThan(1500);
    for (const at of [0, 3, 3 * 4095, 3 * 4096, data.length - 3])
      expect([...data.subarray(at, at + 3)]).toEqual([3, 2, 1]);
  });

  it.each([
    ['a width of 0', { width: 0, height: 1, bits: 24, pixels: [] }],
    ['a negative width', { width: -4, height: 1, bits: 24, pixels: [0, 0, 0, 0] }],
    ['too few pixels', { width: 100, height: 9, bits: 24, pixels: [1, 2, 3] }],
    ['7 bits', { width: 1, height: 1, bits: 7, pixels: [0, 0, 0, 0] }],
    ['JPEG inside', { width: 1, height: 1, bits: 24, compression: 4, pixels: [0, 0, 0, 0] }],
    ['runs without an end', { width: 9, height: 9, bits: 8, compression: 1, palette, pixels: [2, 1] }],
  ])('refuses %s', (_, bitmap) => {
    expect(() => decode(bitmap)).toThrow(expect.objectContaining({ code: 'unreadable_image' }));
  });

  it('refuses more pixels than allowed', () => {
    expect(() => decode({ width: 1000, height: 1000, bits: 24, pixels: [] })).toThrow(
      expect.objectContaining({ code: 'image_too_large' }),
    );
  });

  it('refuses a side too long to be scaled, however few pixels', () => {
    expect(() => decodeBmp(bmp({ width: 100_001, height: 1, bits: 24, pixels: [] }), 'x.bmp', 64e6)).toThrow(
      expect.objectContaining({ code: 'image_too_large', message: expect.stringContaining('at most 100000') }),
    );
  });

  it('never reads outside the file, whatever the header says', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 54, maxLength: 90 }), (noise) => {
        const bytes = noise.slice();
        bytes.set([0x42, 0x4d], 0);
        bytes.set([40, 0, 0, 0], 14);
        try {
          const { data, width, height } = decodeBmp(bytes, 'x.bmp', 10_000);
          expect(data).toHaveLength(width * height * 3);
        } catch (error) {
          expect(error).toMatchObject({ name: 'InspectionError' });
        }
      }),
      { numRuns: 500 },
    );
  });
});
