import { randomWord } from '../../patchcore/random.ts';
import type { NetworkInput, Preprocessing } from '../extractor.ts';

/** Red, green, blue at a place of the unit square, each 0..1. */
type Scene = (x: number, y: number) => readonly [number, number, number];

/**
 * Pictures to compare precisions on where no others are at hand: a shaded disc on a bright ground, brushed metal with a
 * scratch, and a printed pattern over noise. They have what parts have (edges, texture, plain and bright areas), in the
 * network's input.
 */
export function probePictures({ height, width, mean, std }: Preprocessing): readonly NetworkInput[] {
  return scenes.map((scene) => {
    const data = new Float32Array(3 * height * width);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (const [channel, value] of scene((x + 0.5) / width, (y + 0.5) / height).entries()) {
          const at = (channel * height + y) * width + x;
          data[at] = (Math.min(1, Math.max(0, value)) - (mean[channel] as number)) / (std[channel] as number);
        }
      }
    }
    return { height, width, data };
  });
}

const scenes: readonly Scene[] = [shadedDisc, brushedMetal, printedPattern];

function shadedDisc(x: number, y: number): readonly [number, number, number] {
  const radius = Math.hypot(x - 0.5, y - 0.5);
  if (radius > 0.42) return [0.82, 0.84, 0.86];
  const light = 0.55 - 0.3 * (x - 0.4) + 0.08 * Math.sin(90 * radius);
  return radius < 0.1 ? [0.05, 0.05, 0.06] : [light, 0.97 * light, 0.9 * light];
}

function brushedMetal(x: number, y: number): readonly [number, number, number] {
  const scratch = Math.abs(y - 0.3 - 0.35 * x) < 0.012 ? 0.35 : 0;
  const brushed = 0.5 + 0.12 * (noise(1, Math.floor(y * 400), Math.floor(x * 7)) - 0.5);
  const light = brushed + 0.2 * Math.sin(3 * x + 1) * 0.5 + scratch;
  return [light, light, 1.02 * light];
}

function printedPattern(x: number, y: number): readonly [number, number, number] {
  const isInk = (Math.floor(x * 12) + Math.floor(y * 9)) % 3 === 0;
  const grain = 0.1 * (noise(2, Math.floor(x * 300), Math.floor(y * 300)) - 0.5);
  return isInk ? [0.12 + grain, 0.25 + grain, 0.6 + grain] : [0.75 + grain, 0.7 + grain, 0.55 + grain];
}

/** 0..1 */
function noise(seed: number, i: number, j: number): number {
  return randomWord(seed, i * 4096 + j) / 2 ** 32;
}
