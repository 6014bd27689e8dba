/**
 * Makes README's picture of a result from the fixture parts: `tsx scripts/make_result_picture.ts [--out FILE]`. Upper row:
 * the pictures with okng's regions; lower row: their heatmaps, in colour.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp, { type OverlayOptions } from 'sharp';
import { loadConfig } from '../src/config.ts';
import type { Inspection } from '../src/inspection/inspect_image.ts';
import { wholePicture } from '../src/inspection/shape_text.ts';
import { createService } from '../src/service.ts';
import { partPictures, partsFolder, partsMmPerPx } from '../test/parts.ts';

const { values: options } = parseArgs({
  options: { out: { type: 'string', default: fileURLToPath(new URL('../test/fixtures/result.jpg', import.meta.url)) } },
});

const shown = ['test/good/01', 'test/scratch/01', 'test/stain/02', 'test/missing_hole/02', 'test/burr/01'];
const side = 256;

/** Dark blue over red to light yellow: position, red, green, blue. */
const colours = [
  [0, 0, 0, 30],
  [90, 70, 15, 110],
  [150, 185, 50, 80],
  [210, 245, 135, 25],
  [255, 252, 250, 160],
] as const;

function coloured(gray: Uint8Array): Buffer {
  const rgb = Buffer.alloc(gray.length * 3);
  for (const [pixel, value] of gray.entries()) {
    const above = Math.max(
      1,
      colours.findIndex(([position]) => value <= position),
    );
    const [low, ...from] = colours[above - 1] as (typeof colours)[0];
    const [high, ...to] = colours[above] as (typeof colours)[0];
    const share = (value - low) / (high - low);
    for (let channel = 0; channel < 3; channel++) {
      rgb[pixel * 3 + channel] = Math.round((from[channel] as number) * (1 - share) + (to[channel] as number) * share);
    }
  }
  return rgb;
}

const modelsDir = mkdtempSync(join(tmpdir(), 'okng-result-'));
const service = await createService(loadConfig({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded' }));
const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };
const inspect = async (bytes: Uint8Array, name: string) => {
  const request = { key, mmPerPx: partsMmPerPx, picture: { name, bytes }, shape: wholePicture, includeHeatmap: true };
  return (await service.inspectAll([request]))[0] as Inspection;
};
const scoresOf = async (folder: string) => {
  const scores: number[] = [];
  for (const { name, bytes } of partPictures(folder)) scores.push((await inspect(bytes, name)).score);
  return scores;
};
await service.fit({ key, mmPerPx: partsMmPerPx, keepAll: false, pictures: partPictures('train/good') });
const bad = ['scratch', 'dent', 'stain', 'missing_hole', 'burr'];
const ngScores = (await Promise.all(bad.map((kind) => scoresOf(`calibration/${kind}`)))).flat();
const defaults = { mmPerPx: null, areaMm2Thr: null, scorePercentile: null };
await service.calibrate({ key, okScores: await scoresOf('calibration/good'), ngScores, ...defaults });

const tiles: OverlayOptions[] = [];
for (const [column, name] of shown.entries()) {
  const file = join(partsFolder, `${name}.jpg`);
  const { heatmapPng, regions, decision, score } = await inspect(new Uint8Array(readFileSync(file)), name);
  const { width, height } = await sharp(file).metadata();
  const boxes = regions.map(({ x, y, w, h }) => `<rect x="${x}" y="${y}" width="${w}" height="${h}"/>`).join('');
  const frame = decision === 'ng' ? '#e5484d' : '#30a46c';
  const drawing = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" fill="none" stroke="${frame}" stroke-width="3">${boxes}<rect x="2" y="2" width="${width - 4}" height="${height - 4}" stroke-width="6"/></svg>`;
  const picture = await sharp(file)
    .composite([{ input: Buffer.from(drawing) }])
    .png()
    .toBuffer();
  const gray = await sharp(heatmapPng as Uint8Array)
    .extractChannel(0)
    .raw()
    .toBuffer();
  const heat = await sharp(coloured(gray), { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
  for (const [row, input] of [picture, heat].entries()) {
    tiles.push({
      input: await sharp(input).resize(side, side).toBuffer(),
      left: column * (side + 4),
      top: row * (side + 4),
    });
  }
  console.log(`${name}: ${decision} ${score.toFixed(4)}`);
}
await service.close();
rmSync(modelsDir, { recursive: true });
const size = {
  width: shown.length * (side + 4) - 4,
  height: 2 * side + 4,
  channels: 3,
  background: '#ffffff',
} as const;
await sharp({ create: size }).composite(tiles).jpeg({ quality: 82 }).toFile(options.out);
console.log(options.out);
process.exit(0);
