import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { type Dice, mutated } from './dice.ts';

/** Pictures as they should be, small: every format and depth that is read, and some that are not. */
export async function wellFormedPictures(): Promise<readonly Buffer[]> {
  const side = 40;
  const pixels = Buffer.from(Array.from({ length: side * side * 3 }, (_, i) => (i * 7 + (i >> 6)) % 256));
  const colour = () => sharp(pixels, { raw: { width: side, height: side, channels: 3 } });
  return [
    await colour().png().toBuffer(),
    await colour().ensureAlpha().png().toBuffer(),
    await colour().greyscale().toColourspace('grey16').png().toBuffer(),
    await colour().png({ palette: true }).toBuffer(),
    await colour().jpeg().toBuffer(),
    await colour().jpeg({ progressive: true }).toBuffer(),
    await colour().withMetadata({ orientation: 6 }).jpeg().toBuffer(),
    await colour().webp().toBuffer(),
    await colour().webp({ lossless: true }).toBuffer(),
    await colour().tiff({ compression: 'none' }).toBuffer(),
    await colour().tiff({ compression: 'lzw', tile: true, tileWidth: 16, tileHeight: 16 }).toBuffer(),
    await colour().tiff({ compression: 'deflate', bigtiff: true }).toBuffer(),
    await colour().gif().toBuffer(),
    bitmap(side, side, pixels),
    Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
  ];
}

/** One of the pictures: as it is, damaged, or with a size that it does not have. */
export function hostilePicture(dice: Dice, pictures: readonly Buffer[]): Buffer {
  const picture = dice.pick(pictures);
  return dice.pick([
    () => picture,
    () => mutated(dice, picture),
    () => picture.subarray(0, dice.int(picture.length)),
    () => pngOfSize(dice, sideOf(dice), sideOf(dice)),
    () => withLyingSize(dice, picture),
    () => Buffer.concat([picture, dice.pick(pictures)]),
    () => dice.bytes(dice.int(200)),
    () => Buffer.alloc(0),
  ])();
}

const sideOf = (dice: Dice) => dice.pick([0, 1, 2, 65_535, 65_536, 100_001, 0x7fffffff, 0xffffffff, 8000]);

/** A whole PNG, checksums and all, whose header promises any size over a few bytes that unpack to zeros. */
function pngOfSize(dice: Dice, width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = dice.pick([1, 2, 4, 8, 16, 3]);
  header[9] = dice.pick([0, 2, 3, 4, 6, 5]);
  header[12] = dice.int(3);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const zeros = deflateSync(Buffer.alloc(dice.pick([0, 100, 1_000_000])));
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk(dice.pick(['tEXt', 'zTXt', 'iCCP', 'eXIf', 'PLTE', 'sBIT', 'acTL']), dice.bytes(dice.int(40))),
    chunk('IDAT', zeros),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** Numbers where the formats keep sizes, offsets and counts. */
function withLyingSize(dice: Dice, picture: Buffer): Buffer {
  const lying = Buffer.from(picture);
  const at = dice.int(Math.min(lying.length - 4, 120));
  if (dice.chance(0.5)) lying.writeUInt32LE(sideOf(dice), at);
  else lying.writeUInt32BE(sideOf(dice), at);
  return lying;
}

function bitmap(width: number, height: number, rgb: Buffer): Buffer {
  const header = Buffer.alloc(54);
  header.write('BM', 0, 'latin1');
  header.writeUInt32LE(54 + rgb.length, 2);
  header.writeUInt32LE(54, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(24, 28);
  return Buffer.concat([header, rgb]);
}
