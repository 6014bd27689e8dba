import {
  boltCentre,
  boltCount,
  boltRadius,
  boreRadius,
  type Light,
  neutral,
  outerRadius,
  type Place,
} from './flange.ts';
import { createRandom, fractalNoise, noise2, type Random } from './noise.ts';

export const defectKinds = ['scratch', 'dent', 'stain', 'missing_hole', 'burr'] as const;
export type DefectKind = (typeof defectKinds)[number];

type Tint = readonly [number, number, number];

/** One defect on one part, in the part's own coordinates. */
export interface Defect {
  readonly kind: DefectKind;
  /** Index of the hole that was not drilled, or -1. */
  readonly missingBolt: number;
  /** The light of the clean part → that of the bad one, and a tint. */
  apply(clean: number, place: Place, light: Light): readonly [number, Tint];
  /** Whether the place belongs to the defect. */
  covers(place: Place): boolean;
}

/** A defect of a kind; size and place follow from the seed. */
export function createDefect(kind: DefectKind, seed: number): Defect {
  const random = createRandom(seed * 7919 + 13);
  switch (kind) {
    case 'scratch':
      return scratch(random);
    case 'dent':
      return dent(random);
    case 'stain':
      return stain(random, seed);
    case 'missing_hole':
      return missingHole(random);
    case 'burr':
      return burr(random, seed);
  }
}

/** A point on the turned face, away from bolt holes and edges. */
function pointOnFace(random: Random, margin: number): readonly [number, number] {
  for (;;) {
    const radius = random.between(boreRadius + 12 + margin, outerRadius - 10 - margin);
    const angle = random.between(-Math.PI, Math.PI);
    const x = radius * Math.cos(angle);
    const y = radius * Math.sin(angle);
    const clear = Array.from({ length: boltCount }, (_, bolt) => boltCentre(bolt)).every(
      ([cx, cy]) => Math.hypot(x - cx, y - cy) > boltRadius + 6 + margin,
    );
    if (clear) return [x, y];
  }
}

/** A slightly bent path of 41 points that stays on the turned face. */
function pathOnFace(random: Random): readonly (readonly [number, number])[] {
  for (;;) {
    const [startX, startY] = pointOnFace(random, 2);
    const heading = random.between(0, 2 * Math.PI);
    const length = random.between(75, 120);
    const bend = random.between(-0.3, 0.3) * length;
    const points = Array.from({ length: 41 }, (_, i) => {
      const t = i / 40;
      const along = t * length;
      const aside = 4 * t * (1 - t) * bend;
      return [
        startX + along * Math.cos(heading) - aside * Math.sin(heading),
        startY + along * Math.sin(heading) + aside * Math.cos(heading),
      ] as const;
    });
    const radii = points.map(([x, y]) => Math.hypot(x, y));
    if (Math.min(...radii) > boreRadius + 8 && Math.max(...radii) < outerRadius - 10) return points;
  }
}

/** A curved groove: dark, with a bright lip on the side that faces the lamp, deepest in its middle. */
function scratch(random: Random): Defect {
  const width = random.between(1.8, 2.4);
  const points = pathOnFace(random);
  const nearest = ({ x, y }: Place) => {
    let best = Number.POSITIVE_INFINITY;
    let index = 0;
    for (const [i, [px, py]] of points.entries()) {
      const distance = Math.hypot(x - px, y - py);
      if (distance < best) {
        best = distance;
        index = i;
      }
    }
    const [px, py] = points[index] as readonly [number, number];
    return { distance: best, x: x - px, y: y - py, depth: Math.sin((Math.PI * (index + 3)) / 46) ** 0.5 };
  };
  const onMetal = ({ radius }: Place) => radius < outerRadius && radius > boreRadius;
  return {
    kind: 'scratch',
    missingBolt: -1,
    apply: (clean, place, light) => {
      const near = nearest(place);
      if (near.distance > 8 || !onMetal(place) || clean < 0.1) return [clean, neutral];
      const side = (near.x * light.x + near.y * light.y) / Math.max(0.3, near.distance);
      const dark = 0.8 * near.depth * Math.exp(-((near.distance / width) ** 2));
      const lip = 0.42 * near.depth * Math.max(0, -side) * Math.exp(-(((near.distance - width * 1.5) / width) ** 2));
      return [clean * (1 - dark) + lip, neutral];
    },
    covers: (place) => onMetal(place) && nearest(place).distance < width + 1.2,
  };
}

/** A pressed-in spot: its slopes face the lamp or turn away, and the fan of light bends through it. */
function dent(random: Random): Defect {
  const size = random.between(11.5, 14);
  const [cx, cy] = pointOnFace(random, size);
  const squash = random.between(0.75, 1.25);
  const reach = (place: Place) => Math.hypot((place.x - cx) / squash, (place.y - cy) * squash) / size;
  return {
    kind: 'dent',
    missingBolt: -1,
    apply: (clean, place, light) => {
      const distance = reach(place);
      if (distance > 3) return [clean, neutral];
      const slope = (((place.x - cx) * light.x + (place.y - cy) * light.y) / size) * Math.exp(-(distance ** 2) / 1.3);
      const rim = 0.1 * Math.exp(-(((distance - 1.5) / 0.35) ** 2));
      return [
        Math.max(0.02, clean * (1 - 0.35 * Math.exp(-(distance ** 2) / 1.1)) - 0.5 * slope + rim * clean),
        neutral,
      ];
    },
    covers: (place) => reach(place) < 1.7,
  };
}

/** Dried coolant: a brownish film with a darker rim. */
function stain(random: Random, seed: number): Defect {
  const size = random.between(17, 24);
  const [cx, cy] = pointOnFace(random, 4);
  const depth = (place: Place) => {
    const angle = Math.atan2(place.y - cy, place.x - cx);
    const edge =
      size * (1 + 0.28 * noise2(3 + Math.cos(angle) * 1.4, 3 + Math.sin(angle) * 1.4, seed)) +
      1.6 * fractalNoise(place.x * 0.2, place.y * 0.2, seed + 5, 2);
    return edge - Math.hypot(place.x - cx, place.y - cy);
  };
  const onFace = ({ radius }: Place) => radius < outerRadius && radius > boreRadius;
  return {
    kind: 'stain',
    missingBolt: -1,
    apply: (clean, place) => {
      const inside = depth(place);
      if (inside < -2 || !onFace(place) || clean < 0.06) return [clean, neutral];
      const film = Math.min(1, Math.max(0, (inside + 1.5) / 3));
      const rim = Math.exp(-(((inside - 2) / 1.8) ** 2));
      const cover = film * (0.34 + 0.3 * rim + 0.1 * fractalNoise(place.x * 0.09, place.y * 0.09, seed + 9, 3));
      return [clean * (1 - cover), [1, 1 - 0.16 * film, 1 - 0.34 * film]];
    },
    covers: (place) => onFace(place) && depth(place) > 0,
  };
}

/** A bolt hole that was not drilled: the turned face goes on. */
function missingHole(random: Random): Defect {
  const bolt = Math.floor(random.next() * boltCount);
  const [cx, cy] = boltCentre(bolt);
  return {
    kind: 'missing_hole',
    missingBolt: bolt,
    apply: (clean) => [clean, neutral],
    covers: ({ x, y }) => Math.hypot(x - cx, y - cy) < boltRadius + 4,
  };
}

/** A ragged bright sliver left on an edge: inside the bore, or outside the rim. */
function burr(random: Random, seed: number): Defect {
  const onRim = random.next() < 0.4;
  const edge = onRim ? outerRadius : boreRadius;
  const middle = random.between(-Math.PI, Math.PI);
  const halfWidth = onRim ? random.between(0.14, 0.19) : random.between(0.4, 0.55);
  const height = onRim ? random.between(7, 9) : random.between(8, 10);
  const at = ({ x, y }: Place) => {
    const angle = Math.atan2(y, x);
    const off = Math.abs(Math.atan2(Math.sin(angle - middle), Math.cos(angle - middle))) / halfWidth;
    const ragged = Math.max(
      0,
      0.72 + 0.5 * noise2((angle * edge) / 2.2, 1, seed) + 0.3 * noise2(angle * edge * 1.3, 2, seed),
    );
    const reach = off < 1 ? height * Math.sqrt(1 - off * off) * ragged : 0;
    const distance = Math.hypot(x, y) - edge;
    return { reach, over: onRim ? distance : -distance, angle };
  };
  return {
    kind: 'burr',
    missingBolt: -1,
    apply: (clean, place, light) => {
      const { reach, over, angle } = at(place);
      if (over < -2.5 || over > reach || reach === 0) return [clean, neutral];
      const lit = 0.42 + 0.18 * Math.cos(angle - light.angle) + 0.22 * noise2(place.x * 0.9, place.y * 0.9, seed + 3);
      return [over < 0 ? clean * 0.5 + lit * 0.5 : lit, neutral];
    },
    covers: (place) => {
      const { reach, over } = at(place);
      return reach > 0 && over > -2.5 && over < reach + 0.5;
    },
  };
}
