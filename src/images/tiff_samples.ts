/** What one sample of a TIFF's first page is. */
export interface TiffSamples {
  /** Bits of each channel's sample. */
  readonly bits: readonly number[];
  /** TIFF's SampleFormat: 1 unsigned, 2 signed, 3 floating point, 4 unknown, 5 and 6 complex. */
  readonly formats: readonly number[];
  readonly whiteIsZero: boolean;
}

const bitsPerSample = 258;
const photometric = 262;
const sampleFormat = 339;

/** Of TIFF's whole numbers: BYTE, SHORT, LONG. */
const bytesOfType: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4 };

/**
 * Looks into a TIFF's first directory. The library tells neither packed bits (10, 12, 14) from damage nor white-is-zero
 * from black-is-zero.
 *
 * @returns null when the directory lies outside the file: the decoder will say that it is damaged
 */
export function tiffSamples(bytes: Uint8Array): TiffSamples | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = bytes[0] === 0x49;
  if (bytes.length < 8) return null;
  const directory = view.getUint32(4, little);
  if (directory + 2 > bytes.length) return null;
  const entries = view.getUint16(directory, little);
  if (directory + 2 + entries * 12 > bytes.length) return null;

  const valuesOf = (tag: number): readonly number[] => {
    for (let at = directory + 2; at < directory + 2 + entries * 12; at += 12) {
      if (view.getUint16(at, little) !== tag) continue;
      const size = bytesOfType[view.getUint16(at + 2, little)];
      if (size === undefined) return [];
      // No picture has more channels than this; a damaged count must not cost memory.
      const count = Math.min(view.getUint32(at + 4, little), 64);
      // What fits lies in the entry itself.
      const start = count * size <= 4 ? at + 8 : view.getUint32(at + 8, little);
      if (start + count * size > bytes.length) return [];
      return Array.from({ length: count }, (_, i) => {
        const place = start + i * size;
        if (size === 1) return view.getUint8(place);
        return size === 2 ? view.getUint16(place, little) : view.getUint32(place, little);
      });
    }
    return [];
  };
  return {
    bits: valuesOf(bitsPerSample),
    formats: valuesOf(sampleFormat),
    whiteIsZero: valuesOf(photometric)[0] === 0,
  };
}

/** Whether all samples are unsigned (or of unknown format, which is taken for it), of at most 8 or of 16 bits. */
export function isReadable({ bits, formats }: TiffSamples): boolean {
  return bits.every((count) => [1, 2, 4, 8, 16].includes(count)) && formats.every((f) => f === 1 || f === 4);
}

/** Such as `32-bit floating-point samples`. */
export function describe({ bits, formats }: TiffSamples): string {
  const format = formats.find((one) => one !== 1 && one !== 4) ?? 1;
  return `${bits[0] ?? 1}-bit ${nameOfFormat[format] ?? 'unknown'} samples`;
}

const nameOfFormat: Readonly<Record<number, string>> = {
  1: 'unsigned',
  2: 'signed',
  3: 'floating-point',
  5: 'complex',
  6: 'complex',
};
