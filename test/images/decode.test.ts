import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/images/decode.ts';
import type { RgbImage } from '../../src/images/image.ts';

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

interface Tiff {
  readonly width: number;
  readonly bits: number;
  readonly data: Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Float32Array | Float64Array;
  /** SampleFormat; left out of the file when absent. */
  readonly format?: number;
  /** 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 8 CIELAB, 32803 colour filter array. */
  readonly photometric?: number;
  readonly channels?: number;
  readonly colourMap?: readonly number[];
  readonly extra?: readonly number[];
}

/** A TIFF of one row in one uncompressed strip, little-endian, written by hand: nothing converts its samples. */
function tiff({
  width: columns,
  bits,
  data,
  format,
  photometric = 1,
  channels = 1,
  colourMap,
  extra,
}: Tiff): Uint8Array {
  const perChannel = (value: number) => Array.from({ length: channels }, () => value);
  const tags: (readonly [tag: number, values: readonly number[]])[] = [
    [256, [columns]],
    [257, [1]],
    [258, perChannel(bits)],
    [259, [1]],
    [262, [photometric]],
    [273, [0]],
    [277, [channels]],
    [278, [1]],
    [279, [data.byteLength]],
    ...(colourMap === undefined ? [] : [[320, colourMap] as const]),
    ...(extra === undefined ? [] : [[338, extra] as const]),
    ...(format === undefined ? [] : [[339, perChannel(format)] as const]),
  ];
  const directoryEnd = 8 + 2 + tags.length * 12 + 4;
  const head = Buffer.alloc(directoryEnd);
  const tails: Buffer[] = [];
  let end = directoryEnd;
  head.write('II*\0', 'latin1');
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(tags.length, 8);
  for (const [i, [tag, values]] of tags.entries()) {
    const at = 10 + i * 12;
    head.writeUInt16LE(tag, at);
    head.writeUInt16LE(3, at + 2);
    head.writeUInt32LE(values.length, at + 4);
    if (values.length <= 2) {
      for (const [k, value] of values.entries()) head.writeUInt16LE(value, at + 8 + k * 2);
    } else {
      head.writeUInt32LE(end, at + 8);
      tails.push(Buffer.from(Uint16Array.from(values).buffer));
      end += values.length * 2;
    }
  }
  head.writeUInt16LE(end, 10 + 5 * 12 + 8);
  return new Uint8Array(Buffer.concat([head, ...tails, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

const tiff16 = (samples: readonly number[]) =>
  tiff({ width: samples.length, bits: 16, data: Uint16Array.from(samples) });
const reds = ({ data }: RgbImage) => [...data].filter((_, i) => i % 3 === 0);

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

  describe('reads every format as every client writes it', () => {
    /** 16 × 16 of one colour, so that a lossy format has nothing to lose; alpha of a mask's 0 and 255. */
    const side = 16;
    const colour = [200, 60, 120] as const;
    const flat = (channels: readonly number[]) =>
      Uint8Array.from({ length: side * side * channels.length }, (_, i) => channels[i % channels.length] as number);
    const deepFlat = (channels: readonly number[]) =>
      Uint16Array.from({ length: side * side * channels.length }, (_, i) => channels[i % channels.length] as number);
    const picture = (channels: readonly number[]) =>
      sharp(flat(channels), { raw: { width: side, height: side, channels: channels.length as 1 | 3 | 4 } });
    const deep = (channels: readonly number[]) =>
      sharp(deepFlat(channels), { raw: { width: side, height: side, channels: channels.length as 1 | 3 | 4 } });
    const gray = () => picture([90]).toColourspace('b-w');
    const twelve = (eightBits: number) => Math.round((eightBits * 4095) / 255);
    const sixteen = (eightBits: number) => eightBits * 257;
    const colourOf = (depth: (eightBits: number) => number) => deep(colour.map(depth)).toColourspace('rgb16');
    const alphaOf = (depth: (eightBits: number) => number) => deep([...colour.map(depth), 0]).toColourspace('rgb16');
    const grayOf = (depth: (eightBits: number) => number) => deep([depth(90)]).toColourspace('grey16');

    it.each<[string, () => Sharp, readonly number[]]>([
      ['PNG, gray', () => gray().png(), [90, 90, 90]],
      ['PNG, RGB', () => picture(colour).png(), colour],
      ['PNG, RGBA', () => picture([...colour, 0]).png(), colour],
      ['PNG, gray of 16 bits', () => grayOf(sixteen).png(), [90, 90, 90]],
      ['PNG, gray of 12 bits in 16', () => grayOf(twelve).png(), [90, 90, 90]],
      ['PNG, RGB of 16 bits', () => colourOf(sixteen).png(), colour],
      ['PNG, RGB of 12 bits in 16', () => colourOf(twelve).png(), colour],
      ['PNG, RGBA of 16 bits', () => alphaOf(sixteen).png(), colour],
      ['PNG, RGBA of 12 bits in 16', () => alphaOf(twelve).png(), colour],
      ['TIFF, gray', () => gray().tiff({ compression: 'none' }), [90, 90, 90]],
      ['TIFF, RGB', () => picture(colour).tiff({ compression: 'deflate' }), colour],
      ['TIFF, RGBA', () => picture([...colour, 0]).tiff({ compression: 'lzw' }), colour],
      ['TIFF, gray of 16 bits', () => grayOf(sixteen).tiff({ compression: 'lzw' }), [90, 90, 90]],
      ['TIFF, gray of 12 bits in 16', () => grayOf(twelve).tiff({ compression: 'lzw' }), [90, 90, 90]],
      ['TIFF, RGB of 16 bits', () => colourOf(sixteen).tiff({ compression: 'lzw' }), colour],
      ['TIFF, RGB of 12 bits in 16', () => colourOf(twelve).tiff({ compression: 'lzw' }), colour],
      ['TIFF, RGBA of 12 bits in 16', () => alphaOf(twelve).tiff({ compression: 'lzw' }), colour],
      ['WebP, RGB', () => picture(colour).webp({ lossless: true }), colour],
      ['WebP, RGBA', () => picture([...colour, 0]).webp({ lossless: true, exact: true }), colour],
      ['JPEG, gray', () => gray().jpeg({ quality: 100 }), [90, 90, 90]],
      ['JPEG, RGB', () => picture(colour).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }), colour],
    ])('%s', async (name, encode, expected) => {
      const bytes = await own(encode().toBuffer());
      const { depth, channels } = await sharp(bytes).metadata();
      expect(depth).toBe(name.includes('16') ? 'ushort' : 'uchar');
      expect(channels).toBe(name.includes('gray') ? 1 : name.includes('RGBA') ? 4 : 3);
      const image = await decode(bytes);
      expect(image).toMatchObject({ height: side, width: side });
      const most = name.startsWith('JPEG') ? 1 : 0;
      for (const [i, value] of image.data.entries())
        expect(Math.abs(value - (expected[i % 3] as number))).toBeLessThanOrEqual(most);
    });
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

  it('scales 12 bits in a 16-bit TIFF whose zero is white', async () => {
    const bytes = tiff({ width: 3, bits: 16, photometric: 0, data: Uint16Array.of(0, 2048, 4095) });
    expect(reds(await decode(bytes))).toEqual([255, 127, 0]);
  });

  it('takes sBIT 16 at its word, however dark the picture', async () => {
    expect(reds(await decode(png16([0, 1028, 4095], 16)))).toEqual([0, 4, 16]);
  });

  it.each<[string, Tiff, string]>([
    ['float32 0..1', { width: 3, bits: 32, format: 3, data: Float32Array.of(0, 0.5, 1) }, '32-bit floating-point'],
    ['float16', { width: 2, bits: 16, format: 3, data: Uint16Array.of(0, 0x3c00) }, '16-bit floating-point'],
    ['float64', { width: 2, bits: 64, format: 3, data: Float64Array.of(0, 1) }, '64-bit floating-point'],
    [
      'float32 RGB',
      { width: 1, bits: 32, format: 3, channels: 3, photometric: 2, data: Float32Array.of(0, 0.5, 1) },
      '32-bit floating-point',
    ],
    ['uint32', { width: 2, bits: 32, format: 1, data: Uint32Array.of(5, 4e9) }, '32-bit unsigned'],
    ['uint32 without a word', { width: 2, bits: 32, data: Uint32Array.of(5, 4e9) }, '32-bit unsigned'],
    ['int16', { width: 2, bits: 16, format: 2, data: Int16Array.of(-5, 1600) }, '16-bit signed'],
    ['int8', { width: 2, bits: 8, format: 2, data: Int8Array.of(-5, 100) }, '8-bit signed'],
    ['12 bits packed', { width: 4, bits: 12, data: new Uint8Array(6).fill(85) }, '12-bit unsigned'],
    ['10 bits packed', { width: 4, bits: 10, data: new Uint8Array(5).fill(85) }, '10-bit unsigned'],
  ])('refuses TIFF samples that 8 bits cannot stand for: %s', async (_, samples, what) => {
    await expect(decode(tiff(samples))).rejects.toMatchObject({
      code: 'unsupported_media_type',
      message: `The image "part.png" has ${what} samples; okng reads 8-bit and 16-bit unsigned samples. Save it with 8 or 16 bits.`,
    });
  });

  it("refuses a sensor's raw mosaic instead of calling it damaged", async () => {
    await expect(
      decode(tiff({ width: 2, bits: 16, photometric: 32803, data: Uint16Array.of(1, 4000) })),
    ).rejects.toMatchObject({ code: 'unsupported_media_type', message: expect.stringContaining('raw mosaic') });
  });

  const ramp = (length: number) => [
    ...Array.from({ length }, (_, i) => i * 257),
    ...Array.from({ length }, (_, i) => 65535 - i * 257),
    ...Array.from({ length }, () => 257),
  ];
  it.each<[string, Tiff, readonly number[]]>([
    ['1 bit', { width: 8, bits: 1, data: Uint8Array.of(0b01010011) }, [0, 255, 0, 255, 0, 0, 255, 255]],
    [
      '1 bit, white is zero',
      { width: 8, bits: 1, photometric: 0, data: Uint8Array.of(0b01010011) },
      [255, 0, 255, 0, 255, 255, 0, 0],
    ],
    ['2 bits', { width: 4, bits: 2, data: Uint8Array.of(0b00011011) }, [0, 85, 170, 255]],
    ['4 bits', { width: 2, bits: 4, data: Uint8Array.of(0x3f) }, [51, 255]],
    ['8 bits, white is zero', { width: 2, bits: 8, photometric: 0, data: Uint8Array.of(0, 100) }, [255, 155]],
    ['8 bits of format "unknown"', { width: 2, bits: 8, format: 4, data: Uint8Array.of(0, 100) }, [0, 100]],
    [
      'gray with alpha',
      { width: 2, bits: 8, channels: 2, extra: [2], data: Uint8Array.of(10, 0, 200, 255) },
      [10, 200],
    ],
    [
      '16-bit gray with alpha',
      { width: 2, bits: 16, channels: 2, extra: [2], data: Uint16Array.of(1024, 65535, 4095, 0) },
      [64, 255],
    ],
    [
      'palette of 8 bits',
      { width: 2, bits: 8, photometric: 3, colourMap: ramp(256), data: Uint8Array.of(3, 200) },
      [3, 200],
    ],
    [
      'palette of 4 bits',
      { width: 2, bits: 4, photometric: 3, colourMap: ramp(16), data: Uint8Array.of(0x3f) },
      [3, 15],
    ],
    [
      'CMYK',
      { width: 2, bits: 8, channels: 4, photometric: 5, data: Uint8Array.of(0, 0, 0, 0, 255, 0, 0, 0) },
      [255, 0],
    ],
    [
      'CMYK of 16 bits',
      { width: 2, bits: 16, channels: 4, photometric: 5, data: Uint16Array.of(0, 0, 0, 0, 65535, 0, 0, 0) },
      [255, 0],
    ],
    [
      'CIELAB of 16 bits',
      { width: 1, bits: 16, channels: 3, photometric: 8, data: Uint16Array.of(65535, 0, 0) },
      [255],
    ],
  ])('reads TIFF of %s', async (_, samples, expected) => {
    expect(reds(await decode(tiff(samples)))).toEqual(expected);
  });

  it('reads PNG of 1 bit', async () => {
    const bytes = await own(
      sharp(Uint8Array.of(0, 255, 255, 0, 0, 255), { raw: { width: 6, height: 1, channels: 1 } })
        .toColourspace('b-w')
        .png({ palette: true, colours: 2 })
        .toBuffer(),
    );
    expect(bytes[24], 'bit depth').toBe(1);
    expect(reds(await decode(bytes))).toEqual([0, 255, 255, 0, 0, 255]);
  });

  it('scales every 16-bit sample as the rule says', async () => {
    const check = async (most: number) => {
      const samples = Array.from({ length: 3000 }, (_, i) => Math.round((i * most) / 2999));
      expect(reds(await decode(png16(samples)))).toEqual(samples.map((sample) => Math.round((sample * 255) / most)));
    };
    await check(4095);
    await check(65535);
  });

  it('refuses a side too long to be scaled, however few pixels', async () => {
    const bytes = await own(
      sharp({ create: { width: 1, height: 100_001, channels: 3, background: 'white' } })
        .png()
        .toBuffer(),
    );
    await expect(decode(bytes)).rejects.toMatchObject({
      code: 'image_too_large',
      message: expect.stringMatching(/1 × 100001 .* at most 100000/),
    });
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

  it.each<[string, () => Promise<Uint8Array>]>([
    ['PNG', () => own(sharp(rgb, raw).resize(32, 32).png().toBuffer())],
    ['TIFF', async () => tiff16([1, 2, 3, 4000])],
  ])('never throws anything else on damaged bytes: %s', async (_, make) => {
    const whole = await make();
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (place, value) => {
        const bytes = whole.slice();
        bytes[place] = value;
        const result = await decode(bytes).catch((error: unknown) => error);
        if (!(result instanceof Error)) expect(result).toMatchObject({ data: expect.any(Uint8Array) });
        else expect(result).toMatchObject({ name: 'InspectionError', code: expect.stringMatching(/image|media/) });
      }),
      { numRuns: 100 },
    );
  });
});
