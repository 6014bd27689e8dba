import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/images/decode.ts';
import type { RgbImage } from '../../src/images/image.ts';
import { encodeGrayPng } from '../../src/images/png.ts';

const options = { name: 'part.png', maxPixels: 1_000_000 };
const decode = (bytes: Uint8Array, maxPixels = options.maxPixels) => decodeImage(bytes, { ...options, maxPixels });

/** A 5 × 4 picture whose pixels all differ, strongest in red on the left. */
const width = 5;
const height = 4;
const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) =>
  i % 3 === 0 ? 250 - 40 * ((i / 3) % width) : (i * 7) % 200,
);
const raw = { raw: { width, height, channels: 3 } } as const;
const own = async (bytes: Promise<Buffer>) => new Uint8Array(await bytes);

const pixel = ({ data, width: columns }: RgbImage, x: number, y: number) => [
  ...data.subarray((y * columns + x) * 3, (y * columns + x) * 3 + 3),
];

/** Samples of 16 bits as a big-endian PNG, written by hand: nothing scales them on the way. */
function png16(samples: readonly number[], sBit?: number, channels: 1 | 3 = 1): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(data.length);
    const tail = Buffer.alloc(4);
    tail.writeUInt32BE(crc32(body));
    return Buffer.concat([head, body, tail]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(samples.length / channels, 0);
  header.writeUInt32BE(1, 4);
  header[8] = 16;
  header[9] = channels === 3 ? 2 : 0;
  const row = Buffer.alloc(1 + samples.length * 2);
  for (const [i, sample] of samples.entries()) row.writeUInt16BE(sample, 1 + i * 2);
  return new Uint8Array(
    Buffer.concat([
      Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
      chunk('IHDR', header),
      ...(sBit === undefined ? [] : [chunk('sBIT', Uint8Array.of(sBit))]),
      chunk('IDAT', deflateSync(row)),
      chunk('IEND', new Uint8Array()),
    ]),
  );
}

/** A gray TIFF of 16 bits in one uncompressed strip, little-endian. */
function tiff16(samples: readonly number[]): Uint8Array {
  const entries = [
    [256, samples.length],
    [257, 1],
    [258, 16],
    [259, 1],
    [262, 1],
    [273, 8 + 2 + 9 * 12 + 4],
    [277, 1],
    [278, 1],
    [279, samples.length * 2],
  ] as const;
  const bytes = Buffer.alloc(8 + 2 + entries.length * 12 + 4 + samples.length * 2);
  bytes.write('II*\0', 'latin1');
  bytes.writeUInt32LE(8, 4);
  bytes.writeUInt16LE(entries.length, 8);
  for (const [i, [tag, value]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 10 + i * 12);
    bytes.writeUInt16LE(4, 12 + i * 12);
    bytes.writeUInt32LE(1, 14 + i * 12);
    bytes.writeUInt32LE(value, 18 + i * 12);
  }
  for (const [i, sample] of samples.entries()) bytes.writeUInt16LE(sample, bytes.length - (samples.length - i) * 2);
  return new Uint8Array(bytes);
}

describe('decodeImage', () => {
  it.each([
    ['PNG', () => sharp(rgb, raw).png()],
    ['TIFF', () => sharp(rgb, raw).tiff({ compression: 'lzw' })],
    ['WebP', () => sharp(rgb, raw).webp({ lossless: true })],
    ['palette PNG', () => sharp(rgb, raw).png({ palette: true, colours: 256, dither: 0 })],
  ])('reads %s exactly', async (_, encode) => {
    const image = await decode(await own(encode().toBuffer()));
    expect(image).toMatchObject({ height, width });
    expect(image.data).toEqual(rgb);
  });

  it('reads JPEG', async () => {
    const image = await decode(
      await own(
        sharp(rgb, raw)
          .resize(40, 32, { kernel: 'nearest' })
          .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
          .toBuffer(),
      ),
    );
    expect(image).toMatchObject({ height: 32, width: 40 });
    expect(Math.abs((pixel(image, 4, 4)[0] as number) - 250)).toBeLessThan(12);
  });

  it('turns a JPEG upright by its EXIF orientation', async () => {
    // 6: the camera lay on its side; the stored left column becomes the top row.
    const flat = Uint8Array.from({ length: 16 * 8 * 3 }, (_, i) => (Math.floor(i / 3) % 16 < 8 ? 220 : 20));
    const bytes = await own(
      sharp(flat, { raw: { width: 16, height: 8, channels: 3 } })
        .withMetadata({ orientation: 6 })
        .jpeg()
        .toBuffer(),
    );
    const image = await decode(bytes);
    expect(image).toMatchObject({ height: 16, width: 8 });
    expect(pixel(image, 4, 1)[0]).toBeGreaterThan(180);
    expect(pixel(image, 4, 14)[0]).toBeLessThan(60);
  });

  it('repeats gray', async () => {
    const image = await decode(
      await own(
        sharp(Uint8Array.of(0, 128, 255), { raw: { width: 3, height: 1, channels: 1 } })
          .toColourspace('b-w')
          .png()
          .toBuffer(),
      ),
    );
    expect([...image.data]).toEqual([0, 0, 0, 128, 128, 128, 255, 255, 255]);
  });

  it.each([3, 1] as const)('drops alpha of a picture with %i colours; the colour under it stays', async (colours) => {
    const channels = (colours + 1) as 2 | 4;
    const pixels = Uint8Array.from(
      { length: 4 * channels },
      (_, i) => (i % channels === colours ? [0, 255, 1, 0][Math.floor(i / channels)] : 60 + i) as number,
    );
    const bytes = await own(
      sharp(pixels, { raw: { width: 4, height: 1, channels } })
        .png()
        .toBuffer(),
    );
    const image = await decode(bytes);
    expect(image.data).toHaveLength(12);
    expect(pixel(image, 0, 0)[0]).toBe(60);
    expect(pixel(image, 3, 0)[0]).toBe(60 + 3 * channels);
  });

  it.each([
    ['12 bits in 16: not black', [0, 2048, 4095], undefined, [0, 128, 255]],
    ['16 bits', [0, 32768, 65535], undefined, [0, 128, 255]],
    ['10 bits said by sBIT', [0, 512, 1023], 10, [0, 128, 255]],
    ['10 bits without a word: as 12', [0, 512, 1023], undefined, [0, 32, 64]],
    ['sBIT 12 scaled up to 16, as PNG wants it', [0, 32768, 65520], 12, [0, 128, 255]],
  ])('scales 16-bit samples by their real range: %s', async (_, samples, sBit, expected) => {
    const image = await decode(png16(samples, sBit));
    expect([...image.data].filter((__, i) => i % 3 === 0)).toEqual(expected);
  });

  it('scales 16-bit colour by one range for all channels', async () => {
    const image = await decode(png16([0, 2048, 4095, 4095, 0, 1024], undefined, 3));
    expect([...image.data]).toEqual([0, 128, 255, 255, 0, 64]);
  });

  it('scales 12 bits in a 16-bit TIFF', async () => {
    expect([...(await decode(tiff16([0, 2048, 4095]))).data].filter((_, i) => i % 3 === 0)).toEqual([0, 128, 255]);
  });

  it('refuses more pixels than allowed, before decoding', async () => {
    const bytes = await own(sharp(rgb, raw).png().toBuffer());
    await expect(decode(bytes, 19)).rejects.toMatchObject({
      code: 'image_too_large',
      message: expect.stringContaining('5 × 4'),
    });
    expect((await decode(bytes, 20)).width).toBe(5);
  });

  it.each([
    ['nothing', new Uint8Array(), 'unreadable_image'],
    ['text', new TextEncoder().encode('hello'), 'unsupported_media_type'],
    [
      'SVG',
      new TextEncoder().encode('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      'unsupported_media_type',
    ],
    ['GIF', new TextEncoder().encode('GIF89a'), 'unsupported_media_type'],
    ['a PNG signature alone', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), 'unreadable_image'],
  ])('refuses %s by name', async (_, bytes, code) => {
    await expect(decode(bytes)).rejects.toMatchObject({ code, message: expect.stringContaining('"part.png"') });
  });

  it.each(['png', 'jpeg', 'webp', 'tiff'] as const)(
    'refuses every %s that is cut short, instead of giving a gray half',
    async (format) => {
      const noisy = Uint8Array.from({ length: 48 * 48 * 3 }, (_, i) => (Math.imul(i, 2654435761) >>> 24) & 255);
      const whole = await own(
        sharp(noisy, { raw: { width: 48, height: 48, channels: 3 } })
          .toFormat(format)
          .toBuffer(),
      );
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: Math.floor(whole.length * 0.97) }), async (length) => {
          await expect(decode(whole.slice(0, length))).rejects.toMatchObject({
            code: expect.stringMatching(/unreadable_image|unsupported_media_type/),
          });
        }),
        { numRuns: 25 },
      );
    },
  );

  it('never throws anything else on damaged bytes', async () => {
    const whole = await own(sharp(rgb, raw).resize(32, 32).png().toBuffer());
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (place, value) => {
        const bytes = whole.slice();
        bytes[place] = value;
        const result = await decode(bytes).catch((error: unknown) => error);
        if (!(result instanceof Error)) expect(result).toMatchObject({ data: expect.any(Uint8Array) });
        else expect(result).toMatchObject({ name: 'InspectionError', code: expect.stringMatching(/image|media/) });
      }),
      { numRuns: 60 },
    );
  });
});

describe('encodeGrayPng', () => {
  it('writes one channel of 8 bits that reads back the same, in an array of its own', async () => {
    const data = Uint8Array.from({ length: 6 }, (_, i) => i * 50);
    const png = await encodeGrayPng({ height: 2, width: 3, data });
    expect([png[24], png[25]], 'bit depth and colour type').toEqual([8, 0]);
    expect(png.buffer.byteLength).toBe(png.byteLength);
    expect(new Uint8Array(await sharp(png).toColourspace('b-w').raw().toBuffer())).toEqual(data);
  });
});
