import sharp from 'sharp';
import { seededRandom } from '../../../src/evaluation/seeded_random.ts';
import { type PartPicture, partPictures } from '../../parts.ts';

/** A scratched part at another size, with the noise of a sensor: without it a large PNG would be decoded too easily. */
export async function benchPicture(side: number, format: 'png' | 'jpeg'): Promise<PartPicture> {
  const [part] = partPictures('test/scratch') as [PartPicture];
  const { data, info } = await sharp(part.bytes).resize(side, side).raw().toBuffer({ resolveWithObject: true });
  const random = seededRandom(side);
  const noisy = Uint8ClampedArray.from(data, (value) => value + 6 * (random() - 0.5));
  const { width, height, channels } = info;
  const bytes = await sharp(noisy, { raw: { width, height, channels } }).toFormat(format).toBuffer();
  return { name: `part.${format}`, bytes };
}
