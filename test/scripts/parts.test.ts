import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { createDefect, defectKinds } from '../../scripts/parts/defects.ts';
import { shotOf } from '../../scripts/parts/flange.ts';
import { partSet, renderPlan } from '../../scripts/parts/part_set.ts';
import { renderPart } from '../../scripts/parts/render.ts';
import { partsFolder } from '../parts.ts';

describe('the fixture parts', () => {
  it('are all there, and small', () => {
    const files = readdirSync(partsFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const bytes = files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
    expect(bytes).toBeLessThan(3 * 1024 * 1024);
    for (const { path, defect } of partSet()) {
      expect(existsSync(join(partsFolder, `${path}.jpg`)), path).toBe(true);
      const mask = join(partsFolder, `${path.replace('test/', 'ground_truth/')}_mask.png`);
      if (defect !== null && path.startsWith('test/')) expect(existsSync(mask), mask).toBe(true);
    }
  });

  it('use no seed twice', () => {
    const seeds = partSet().map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(seeds.length);
  });

  it('come out the same again', () => {
    const defect = () => createDefect('stain', 5);
    expect(renderPart(shotOf(5), defect())).toEqual(renderPart(shotOf(5), defect()));
  });

  it.each(['train/good/01', 'test/scratch/02', 'test/burr/03'])(
    'are what the script makes: %s (mean within 4 of 255, JPEG)',
    async (path) => {
      const plan = partSet().find((candidate) => candidate.path === path);
      if (plan === undefined) throw new Error(`no plan for ${path}`);
      const { rgb, side } = renderPlan(plan);
      const { data, info } = await sharp(join(partsFolder, `${path}.jpg`))
        .raw()
        .toBuffer({ resolveWithObject: true });
      expect(info).toMatchObject({ width: side, height: side, channels: 3 });
      const difference = rgb.reduce((sum, value, i) => sum + Math.abs(value - (data[i] as number)), 0) / rgb.length;
      expect(difference).toBeLessThan(4);
    },
  );

  it.each(defectKinds)('differ from a good part where the mask says, and only there: %s', (kind) => {
    const seed = 520;
    const shot = shotOf(seed);
    const bad = renderPart(shot, createDefect(kind, seed));
    const good = renderPart(shot, null);
    let inside = 0;
    let outside = 0;
    let covered = 0;
    for (let pixel = 0; pixel < bad.mask.length; pixel++) {
      const difference = Math.abs((bad.rgb[pixel * 3 + 1] as number) - (good.rgb[pixel * 3 + 1] as number));
      if (bad.mask[pixel] === 255) {
        inside += difference;
        covered++;
      } else {
        outside += difference;
      }
    }
    expect(covered).toBeGreaterThan(20);
    expect(inside / covered).toBeGreaterThan(10);
    expect(outside / (bad.mask.length - covered)).toBeLessThan(0.2);
  });
});
