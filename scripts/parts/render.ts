import type { Defect } from './defects.ts';
import { pictureSide, type Shot, shade } from './flange.ts';
import { createRandom } from './noise.ts';

export interface RenderedPart {
  readonly side: number;
  /** [side · side · 3] RGB of 8 bits. */
  readonly rgb: Uint8Array;
  /** [side · side] 255 where the defect is, else 0. */
  readonly mask: Uint8Array;
}

/** Samples per pixel and axis. */
const samples = 2;

/** Standard deviation of the sensor's noise at full scale. */
const readNoise = 0.0045;
const shotNoise = 0.011;

/**
 * Takes the picture: light per sample → mean per pixel → lens blur → sensor noise → gamma → 8 bits. About a second. Equal
 * arguments give equal bytes on one machine; others may differ in a last bit, as `Math.sin` may.
 */
export function renderPart(shot: Shot, defect: Defect | null): RenderedPart {
  const side = pictureSide;
  const light = new Float64Array(side * side * 3);
  const mask = new Uint8Array(side * side);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const at = (row * side + column) * 3;
      for (let i = 0; i < samples * samples; i++) {
        const px = column + ((i % samples) + 0.5) / samples;
        const py = row + (Math.floor(i / samples) + 0.5) / samples;
        const rgb = shade(px, py, shot, defect);
        for (let channel = 0; channel < 3; channel++) {
          light[at + channel] = (light[at + channel] as number) + (rgb[channel] as number) / (samples * samples);
        }
      }
      if (defect?.covers(placeAt(column + 0.5, row + 0.5, shot))) mask[row * side + column] = 255;
    }
  }
  addDust(light, side, shot);
  return { side, rgb: develop(blurred(light, side, shot.blurPx), shot.seed), mask };
}

function placeAt(px: number, py: number, shot: Shot) {
  const dx = px - shot.centreX;
  const dy = py - shot.centreY;
  const x = dx * Math.cos(shot.turn) + dy * Math.sin(shot.turn);
  const y = dy * Math.cos(shot.turn) - dx * Math.sin(shot.turn);
  return { x, y, radius: Math.hypot(x, y), angle: Math.atan2(y, x) };
}

/** A few specks of dust, as on every part: not a defect. */
function addDust(light: Float64Array, side: number, shot: Shot): void {
  const random = createRandom(shot.seed * 31 + 7);
  const count = 3 + Math.floor(random.next() * 5);
  for (let speck = 0; speck < count; speck++) {
    const column = Math.floor(random.between(20, side - 20));
    const row = Math.floor(random.between(20, side - 20));
    const change = random.between(0.8, 0.95);
    for (let channel = 0; channel < 3; channel++) {
      const at = (row * side + column) * 3 + channel;
      light[at] = (light[at] as number) * change;
    }
  }
}

function blurred(light: Float64Array, side: number, sigma: number): Float64Array {
  const weights = [0, 1, 2, 3].map((distance) => Math.exp((-distance * distance) / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight, distance) => sum + (distance === 0 ? weight : 2 * weight), 0);
  const pass = (from: Float64Array, step: number, positionOf: (pixel: number) => number): Float64Array => {
    const to = new Float64Array(from.length);
    for (let pixel = 0; pixel < side * side; pixel++) {
      const position = positionOf(pixel);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let offset = -3; offset <= 3; offset++) {
          const clamped = Math.min(side - 1, Math.max(0, position + offset)) - position;
          sum += (weights[Math.abs(offset)] as number) * (from[(pixel + clamped * step) * 3 + channel] as number);
        }
        to[pixel * 3 + channel] = sum / total;
      }
    }
    return to;
  };
  const across = pass(light, 1, (pixel) => pixel % side);
  return pass(across, side, (pixel) => Math.floor(pixel / side));
}

function develop(light: Float64Array, seed: number): Uint8Array {
  const random = createRandom(seed * 101 + 3);
  return Uint8Array.from(light, (value) => {
    const seen = value + random.normal() * (readNoise + shotNoise * Math.sqrt(Math.max(0, value)));
    return Math.min(255, Math.max(0, Math.round(255 * Math.max(0, seen) ** (1 / 2.2))));
  });
}
