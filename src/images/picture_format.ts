import { InspectionError } from '../errors.ts';

/** The picture formats okng reads. */
export type PictureFormat = 'png' | 'jpeg' | 'bmp' | 'tiff' | 'webp';

const signatures: readonly { readonly format: PictureFormat; readonly matches: (b: Uint8Array) => boolean }[] = [
  { format: 'png', matches: (b) => startsWith(b, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) },
  { format: 'jpeg', matches: (b) => startsWith(b, [0xff, 0xd8, 0xff]) },
  { format: 'bmp', matches: (b) => startsWith(b, [0x42, 0x4d]) && b.length >= 26 },
  { format: 'tiff', matches: (b) => startsWith(b, [0x49, 0x49, 0x2a, 0]) || startsWith(b, [0x4d, 0x4d, 0, 0x2a]) },
  {
    format: 'webp',
    matches: (b) => startsWith(b, [0x52, 0x49, 0x46, 0x46]) && startsWith(b.subarray(8), [0x57, 0x45, 0x42, 0x50]),
  },
];

/**
 * Tells a picture's format from its first bytes; names and content types are not believed. Nothing else is handed to a
 * decoder, so that a caller cannot reach decoders we do not mean to offer (SVG, PDF, …).
 *
 * @param name how to call the picture in an error
 * @throws InspectionError `unreadable_image` when there are no bytes, `unsupported_media_type` for anything else
 */
export function pictureFormat(bytes: Uint8Array, name: string): PictureFormat {
  if (bytes.length === 0) throw new InspectionError('unreadable_image', `${called(name)} is empty.`);
  const found = signatures.find(({ matches }) => matches(bytes));
  if (found !== undefined) return found.format;
  throw new InspectionError(
    'unsupported_media_type',
    `${called(name)} is not a picture okng reads (PNG, JPEG, BMP, TIFF, WebP).`,
  );
}

/** `The image "x.png"`, or `The image` when it has no name. */
export function called(name: string): string {
  return name === '' ? 'The image' : `The image ${JSON.stringify(name.slice(0, 200))}`;
}

/**
 * The longest side that is read. Scaling spends work and memory on every row and column, however few pixels they hold:
 * a picture one pixel wide would cost far more than its pixels.
 */
export const maxSidePx = 100_000;

/**
 * Refuses a picture that would be too large in memory: more than `maxPixels`, or a side above {@link maxSidePx}.
 *
 * @throws InspectionError `image_too_large`; `unreadable_image` when a side is not above 0
 */
export function requireSize(width: number, height: number, maxPixels: number, name: string): void {
  if (!(width >= 1 && height >= 1)) throw new InspectionError('unreadable_image', `${called(name)} has no pixels.`);
  if (Math.max(width, height) > maxSidePx) {
    throw new InspectionError(
      'image_too_large',
      `${called(name)} has ${width} × ${height} pixels; a side may have at most ${maxSidePx}. Send the cropped ROI.`,
    );
  }
  if (width * height <= maxPixels) return;
  throw new InspectionError(
    'image_too_large',
    `${called(name)} has ${width} × ${height} pixels; at most ${maxPixels / 1_000_000} megapixels are read. Send the cropped ROI, or raise BDI_MAX_MEGAPIXELS.`,
  );
}

function startsWith(bytes: Uint8Array, signature: readonly number[]): boolean {
  return signature.every((byte, i) => bytes[i] === byte);
}
