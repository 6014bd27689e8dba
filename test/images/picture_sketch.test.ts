import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/images/decode.ts';
import type { RgbImage } from '../../src/images/image.ts';
import { isNearDuplicate, pictureSketch, sketchNumbers } from '../../src/images/picture_sketch.ts';
import { type PartPicture, partPictures } from '../parts.ts';

/** Gray levels of 8 × 8 cells, each drawn `scale` pixels wide. */
function cells(levels: readonly number[], scale = 1): RgbImage {
  const side = 8 * scale;
  const data = new Uint8Array(side * side * 3);
  for (let i = 0; i < side * side; i++) {
    const cell = Math.floor(i / side / scale) * 8 + Math.floor((i % side) / scale);
    data.fill(levels[cell] as number, 3 * i, 3 * i + 3);
  }
  return { height: side, width: side, data };
}

const numbersOf = (image: RgbImage) => sketchNumbers(pictureSketch(image)) as Int8Array;

describe('pictureSketch', () => {
  it('is the brightness of 64 cells around their mean, 32 to the standard deviation', () => {
    // Half black, half white: a deviation of 127.5, to which one level is added.
    const sketch = numbersOf(cells(Array.from({ length: 64 }, (_, i) => (i < 32 ? 0 : 255))));
    const one = Math.round((32 * 127.5) / 128.5);
    expect([...sketch]).toEqual(Array.from({ length: 64 }, (_, i) => (i < 32 ? -one : one)));
  });

  it('is nothing but zeros for an even picture, whatever its gray', () => {
    for (const gray of [0, 90, 255])
      expect([...numbersOf(cells(new Array(64).fill(gray)))]).toEqual(new Array(64).fill(0));
  });

  it('cuts what stands out further than a byte holds', () => {
    const sketch = numbersOf(cells(Array.from({ length: 64 }, (_, i) => (i === 9 ? 255 : 0))));
    expect(sketch[9]).toBe(127);
  });

  it('does not change with the size', () => {
    const levels = Array.from({ length: 64 }, (_, i) => (i * 37) % 256);
    expect(pictureSketch(cells(levels, 5))).toBe(pictureSketch(cells(levels)));
  });

  it('is read back, and nothing else is taken for one', () => {
    expect(pictureSketch(cells(new Array(64).fill(1)))).toMatch(/^s8:[A-Za-z0-9+/]{86}==$/);
    for (const text of ['', 's8:', 's8:AAAA', `d8:${'A'.repeat(86)}==`]) expect(sketchNumbers(text)).toBeNull();
  });
});

describe('isNearDuplicate', () => {
  it('ends at a root mean square of 0.03 deviations: 58 of the squared steps, not 59', () => {
    const zeros = new Int8Array(64);
    const apart = (...steps: readonly number[]) => Int8Array.from(zeros, (_, i) => steps[i] ?? 0);
    expect(isNearDuplicate(zeros, apart(7, 3))).toBe(true);
    expect(isNearDuplicate(zeros, apart(7, 3, 1))).toBe(false);
    expect(isNearDuplicate(zeros, apart(...new Array(58).fill(1)))).toBe(true);
    expect(isNearDuplicate(zeros, apart(...new Array(59).fill(1)))).toBe(false);
  });

  it('is symmetric, and true of a sketch and itself', () => {
    const sketch = fc
      .array(fc.integer({ min: -9, max: 9 }), { minLength: 64, maxLength: 64 })
      .map((steps) => Int8Array.from(steps));
    fc.assert(
      fc.property(sketch, sketch, (a, b) => {
        expect(isNearDuplicate(a, a)).toBe(true);
        expect(isNearDuplicate(a, b)).toBe(isNearDuplicate(b, a));
      }),
    );
  });
});

describe('on pictures of parts that lie alike', async () => {
  const pictures = partPictures('train/good');
  const sketchOf = async (bytes: Uint8Array) => numbersOf(await decodeImage(bytes, { name: 'part', maxPixels: 64e6 }));
  const sketches = await Promise.all(pictures.map(({ bytes }) => sketchOf(bytes)));

  it.each([
    ['a worse JPEG', (bytes: Uint8Array) => sharp(bytes).jpeg({ quality: 50 })],
    ['half the size', (bytes: Uint8Array) => sharp(bytes).resize(192).png()],
    ['5 % brighter', (bytes: Uint8Array) => sharp(bytes).linear(1.05, 0).png()],
  ])('knows a copy: %s', async (_, copy) => {
    for (const [i, { bytes }] of pictures.entries()) {
      expect(isNearDuplicate(await sketchOf(await copy(bytes).toBuffer()), sketches[i] as Int8Array)).toBe(true);
    }
  });

  it('tells every part from every other', () => {
    for (const [i, one] of sketches.entries()) {
      for (const other of sketches.slice(0, i)) expect(isNearDuplicate(one, other)).toBe(false);
    }
  });

  it('knows one with a defect from its like, when the defect is large', async () => {
    const [{ bytes }] = pictures as [PartPicture];
    const spot = {
      input: { create: { width: 90, height: 90, channels: 3 as const, background: '#000' } },
      left: 150,
      top: 150,
    };
    const spoilt = await sketchOf(await sharp(bytes).composite([spot]).png().toBuffer());
    expect(isNearDuplicate(spoilt, sketches[0] as Int8Array)).toBe(false);
  });
});
