import type { Defect } from './defects.ts';
import { createRandom, fractalNoise, noise2 } from './noise.ts';

/**
 * A turned steel flange from above: bore with keyway, six countersunk bolt holes, a turned groove, a laser mark, on a dark
 * mat. Lengths are pixels of a 384 px picture, angles radians, light values linear.
 */
export const pictureSide = 384;

/** 1 px of the picture is 0.1 mm: the flange has a diameter of 36 mm. */
export const mmPerPx = 0.1;

/** What differs from part to part and from shot to shot. */
export interface Shot {
  readonly seed: number;
  readonly centreX: number;
  readonly centreY: number;
  readonly turn: number;
  readonly lightAngle: number;
  readonly lightStrength: number;
  readonly blurPx: number;
}

export const outerRadius = 182;
export const boreRadius = 51;
export const boltCircle = 140;
export const boltRadius = 14;
export const boltCount = 6;
const chamfer = 6;
const boltChamfer = 4;
const grooveRadius = 108;
const keyHalfWidth = 9;
const keyDepth = 11;

/** Height of the light above the table: its horizontal and vertical part. */
const lightFlat = 0.62;
const lightUp = 0.78;

/** The pose and light of a shot, within what a fixture and a lamp allow. */
export function shotOf(seed: number): Shot {
  const random = createRandom(seed);
  return {
    seed,
    centreX: pictureSide / 2 + random.between(-2.5, 2.5),
    centreY: pictureSide / 2 + random.between(-2.5, 2.5),
    turn: random.between(-1.5, 1.5) * (Math.PI / 180),
    lightAngle: -2.2 + random.between(-0.07, 0.07),
    lightStrength: random.between(0.95, 1.05),
    blurPx: random.between(0.55, 0.75),
  };
}

/** A place on the part: its own coordinates, turned upright. */
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly angle: number;
}

/** Where the light comes from on the part. */
export interface Light {
  readonly x: number;
  readonly y: number;
  readonly angle: number;
}

/** Where bolt hole `index` has its middle. */
export function boltCentre(index: number): readonly [x: number, y: number] {
  const angle = (index / boltCount) * 2 * Math.PI + Math.PI / 6;
  return [boltCircle * Math.cos(angle), boltCircle * Math.sin(angle)];
}

/** Light that comes back from one point of the picture, as linear RGB. */
export function shade(px: number, py: number, shot: Shot, defect: Defect | null): readonly [number, number, number] {
  const dx = px - shot.centreX;
  const dy = py - shot.centreY;
  const x = dx * Math.cos(shot.turn) + dy * Math.sin(shot.turn);
  const y = dy * Math.cos(shot.turn) - dx * Math.sin(shot.turn);
  const place: Place = { x, y, radius: Math.hypot(x, y), angle: Math.atan2(y, x) };
  const lightAngle = shot.lightAngle - shot.turn;
  const light: Light = { x: Math.cos(lightAngle), y: Math.sin(lightAngle), angle: lightAngle };

  const clean = surface(place, light, shot, defect?.missingBolt ?? -1);
  const [metal, tint] = defect === null ? [clean, neutral] : defect.apply(clean, place, light);
  const falloff = 1 - 0.22 * ((px / pictureSide - 0.5) ** 2 + (py / pictureSide - 0.5) ** 2);
  const strength = metal * falloff * shot.lightStrength;
  return [strength * tint[0], strength * tint[1] * 0.985, strength * tint[2] * 0.95];
}

export const neutral: readonly [number, number, number] = [1, 1, 1];

function surface(place: Place, light: Light, shot: Shot, missingBolt: number): number {
  const { radius } = place;
  if (radius > outerRadius) return mat(place, light, shot);
  if (isKeyway(place) || radius < boreRadius) return bore(place, light);
  for (let bolt = 0; bolt < boltCount; bolt++) {
    if (bolt === missingBolt) continue;
    const [cx, cy] = boltCentre(bolt);
    const distance = Math.hypot(place.x - cx, place.y - cy);
    if (distance < boltRadius + boltChamfer) return boltHole(place.x - cx, place.y - cy, distance, light, shot);
  }
  if (radius > outerRadius - chamfer)
    return bevel(place.x / radius, place.y / radius, 0.75, light) * grain(place, shot, 0.05);
  if (radius < boreRadius + chamfer - 1)
    return bevel(-place.x / radius, -place.y / radius, 0.7, light) * grain(place, shot, 0.05);
  return face(place, light, shot);
}

/** Turned steel: concentric micro-grooves throw the light into two fans, towards the lamp and away from it. */
function face(place: Place, light: Light, shot: Shot): number {
  const { radius, angle } = place;
  const rings =
    0.5 * noise2(radius * 1.9, shot.seed * 0.37, 11) +
    0.35 * noise2(radius * 0.7, shot.seed * 0.21, 12) +
    0.3 * noise2(radius * 0.16, shot.seed * 0.11, 13);
  const towards = angle - light.angle;
  // Rings scatter a little differently, so the fan's edge is frayed.
  const fray = 0.09 * noise2(radius * 0.9, shot.seed, 14) + 0.05 * noise2(radius * 0.12, shot.seed, 15);
  const fan = Math.abs(Math.cos(towards + fray)) ** 26 + 0.35 * Math.abs(Math.cos(towards + fray * 1.5)) ** 6;
  const cloudy = 0.03 * fractalNoise(place.x * 0.03 + shot.seed, place.y * 0.03, 16, 3);
  const value = (0.25 + 0.3 * fan) * (1 + 0.2 * rings) + cloudy;
  return value * groove(place, light) * mark(place) * grain(place, shot, 0.035);
}

/** A turned step: one side in shadow, the other bright, changing round the part. */
function groove({ radius, angle }: Place, light: Light): number {
  const depth = radius - grooveRadius;
  if (Math.abs(depth) > 4) return 1;
  const facing = Math.cos(angle - light.angle);
  const wall = Math.exp(-((depth - 1.9) ** 2) / 1.1) - Math.exp(-((depth + 1.9) ** 2) / 1.1);
  return Math.max(0.25, (1 - 0.5 * Math.exp(-(depth ** 2) / 2.2)) * (1 - 0.75 * facing * wall));
}

function bevel(normalX: number, normalY: number, slope: number, light: Light): number {
  const up = Math.sqrt(1 - slope * slope);
  const towards = slope * (normalX * light.x + normalY * light.y);
  const lit = Math.max(0, towards * lightFlat + up * lightUp);
  return 0.1 + 0.5 * lit + 0.75 * lit ** 9;
}

function bore({ x, y, radius }: Place, light: Light): number {
  // The far wall catches light, the rest shows the dark table below.
  const wall = Math.max(0, -(x * light.x + y * light.y) / boreRadius) * Math.max(0, radius / boreRadius - 0.72) * 0.5;
  return 0.022 + wall * 0.5;
}

function isKeyway({ x, y }: Place): boolean {
  return Math.abs(x) < keyHalfWidth && y < 0 && -y < boreRadius + keyDepth;
}

function boltHole(x: number, y: number, distance: number, light: Light, shot: Shot): number {
  if (distance > boltRadius) {
    const fine = 1 + 0.06 * noise2(distance * 2.2, shot.seed, 21);
    return bevel(-x / distance, -y / distance, 0.72, light) * fine;
  }
  const wall = Math.max(0, -(x * light.x + y * light.y) / boltRadius) * Math.max(0, distance / boltRadius - 0.45);
  return 0.018 + 0.16 * wall;
}

function mat(place: Place, light: Light, shot: Shot): number {
  const weave = fractalNoise(place.x * 0.06, place.y * 0.06 + shot.seed * 7, 31, 2);
  const base = 0.085 * (1 + 0.08 * weave);
  // The part's shadow, on the side away from the lamp.
  const away = Math.hypot(place.x + light.x * 7, place.y + light.y * 7) - outerRadius;
  return base * (1 - 0.7 * Math.exp(-Math.max(0, away) / 7));
}

function grain(place: Place, shot: Shot, amount: number): number {
  return 1 + amount * noise2(place.x * 0.8 + shot.seed, place.y * 0.8, 41);
}

/** Columns of 5 × 7 letters, least significant bit on top. */
const letters: Readonly<Record<string, readonly number[]>> = {
  F: [0x7f, 0x09, 0x09, 0x09, 0x01],
  '-': [0x08, 0x08, 0x08, 0x08, 0x08],
  '3': [0x22, 0x41, 0x49, 0x49, 0x36],
  '6': [0x3c, 0x4a, 0x49, 0x49, 0x30],
  K: [0x7f, 0x08, 0x14, 0x22, 0x41],
};
const markText = 'F-36K';
const dot = 2.1;

/** A laser mark below the bore: dull dots that swallow the highlight. */
function mark({ x, y }: Place): number {
  const left = (-markText.length * 6 * dot) / 2;
  const column = Math.floor((x - left) / dot);
  const row = Math.floor((y - 73) / dot);
  if (row < 0 || row > 6 || column < 0 || column >= markText.length * 6) return 1;
  const bits = letters[markText[Math.floor(column / 6)] as string]?.[column % 6] ?? 0;
  return (bits >> row) & 1 ? 0.52 : 1;
}
