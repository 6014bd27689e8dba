import { describe, expect, it } from 'vitest';
import {
  embeddedExtractorInfo,
  embeddedExtractorName,
  openEmbeddedExtractor,
} from '../../../src/extractors/embedded/embedded_extractor.ts';
import { writeFilterBankGraph } from '../../../src/extractors/embedded/filter_bank_graph.ts';
import { openSession } from '../../../src/onnx/onnx_session.ts';
import { extractorConformance } from '../conformance.ts';
import { noisePicture } from '../noise_picture.ts';
import { referenceFilterBank } from './filter_bank_reference.ts';

extractorConformance('embedded', {
  open: () => openEmbeddedExtractor({ threads: 1 }),
  describe: embeddedExtractorInfo,
});

/** [3, 256, 256] of one colour. */
function plain(red: number, green: number, blue: number) {
  const data = new Float32Array(3 * 256 * 256);
  for (const [channel, value] of [red, green, blue].entries()) data.fill(value, channel * 65536, (channel + 1) * 65536);
  return { height: 256, width: 256, data };
}

async function embed(input: { height: number; width: number; data: Float32Array }) {
  const extractor = await openEmbeddedExtractor({ threads: 1 });
  return extractor.extract(input).finally(() => extractor.dispose());
}

describe('the embedded filter bank', () => {
  it('equals the slow loops of its description', async () => {
    const picture = noisePicture(256, 256, 7);
    const { embeddings } = await embed(picture);
    const expected = referenceFilterBank(picture.data);
    expect(expected.length).toBe(embeddings.data.length);
    let worst = 0;
    for (const [index, value] of expected.entries()) {
      worst = Math.max(worst, Math.abs(value - (embeddings.data[index] as number)));
    }
    expect(worst).toBeLessThan(1e-4);
  });

  it('gives a picture of one colour equal rows: means of L, RG, BY times 0.45, and floors elsewhere', async () => {
    const { embeddings, imageVector } = await embed(plain(0.9, 0.6, 0.3));
    const row = embeddings.data.subarray(0, 74);
    // Roots make rounding errors of 1e-7 visible where there is nothing else to see.
    let worst = 0;
    for (const [index, value] of embeddings.data.entries()) {
      worst = Math.max(worst, Math.abs(value - (row[index % 74] as number)));
    }
    expect(worst).toBeLessThan(0.002);
    expect(row[68]).toBeCloseTo(0.45 * 0.6, 5);
    expect(row[69]).toBeCloseTo(0.45 * 0.3, 5);
    expect(row[70]).toBeCloseTo(0.45 * 0.45, 5);
    for (let col = 71; col < 74; col++) expect(row[col]).toBeCloseTo(1e-6 ** 0.25, 4);
    // All rows equal: no deviation in the picture's vector, whose first half is a unit row.
    expect(Math.hypot(...imageVector.subarray(0, 74))).toBeCloseTo(1, 4);
    expect(Math.max(...imageVector.subarray(74))).toBeLessThan(1e-3);
  });

  it('answers stripes of wavelength 4 most in their own direction at level 0', async () => {
    const picture = plain(0, 0, 0);
    for (let index = 0; index < picture.data.length; index++) {
      picture.data[index] = 0.5 + 0.4 * Math.cos((2 * Math.PI * (index % 256)) / 4);
    }
    const { embeddings } = await embed(picture);
    const center = embeddings.data.subarray((16 * 32 + 16) * 74, (16 * 32 + 17) * 74);
    const levelZero = [...center.subarray(0, 6)];
    // Stripes that vary along x: direction 0; the perpendicular one (k = 3) sees nothing.
    expect(levelZero.indexOf(Math.max(...levelZero))).toBe(0);
    expect(levelZero.indexOf(Math.min(...levelZero))).toBe(3);
    expect(Math.max(...center.subarray(0, 24))).toBe(levelZero[0]);
  });

  it('hardly sees the light change, but sees colour', async () => {
    const bright = noisePicture(256, 256, 3);
    const dark = { ...bright, data: bright.data.map((value) => 0.6 * value) };
    const [a, b] = [(await embed(bright)).embeddings.data, (await embed(dark)).embeddings.data];
    const cell = 20 * 32 + 20;
    for (let col = 0; col < 32; col++) expect(b[cell * 74 + col]).toBeCloseTo(a[cell * 74 + col] as number, 1);
    expect(b[cell * 74 + 68]).toBeCloseTo(0.6 * (a[cell * 74 + 68] as number), 5);
  });

  it('runs several pictures at once with the same numbers', async () => {
    const pictures = [noisePicture(256, 256, 1), noisePicture(256, 256, 2)];
    const session = await openSession(writeFilterBankGraph(), { threads: 1 });
    const data = new Float32Array(2 * 3 * 65536);
    for (const [index, picture] of pictures.entries()) data.set(picture.data, index * 3 * 65536);
    const outputs = await session.run({ input: { dims: [2, 3, 256, 256], data } });
    await session.dispose();
    expect(outputs.embeddings?.dims).toEqual([2, 1024, 74]);
    expect(outputs.image_vector?.dims).toEqual([2, 148]);
    for (const [index, picture] of pictures.entries()) {
      const single = await embed(picture);
      const rows = outputs.embeddings?.data.slice(index * 1024 * 74, (index + 1) * 1024 * 74) as Float32Array;
      for (let i = 0; i < rows.length; i += 97) expect(rows[i]).toBeCloseTo(single.embeddings.data[i] as number, 5);
    }
  });
});

describe('embeddedExtractorInfo', () => {
  it('is known without loading, and writes equal graphs', () => {
    expect(embeddedExtractorInfo()).toMatchObject({
      name: embeddedExtractorName,
      grid: { rows: 32, cols: 32 },
      width: 74,
      patchSize: 8,
    });
    expect(Buffer.from(writeFilterBankGraph()).equals(writeFilterBankGraph())).toBe(true);
  });

  it('has the fingerprint that stored memories carry: change it only on purpose, every memory is then refused', () => {
    expect(embeddedExtractorInfo().fingerprint).toBe(
      '3c21ce59095b44d484562135b95ab21d4359ead2003f878f6e79b89e42fa647b',
    );
  });
});
