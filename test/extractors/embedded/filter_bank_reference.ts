/**
 * The filter bank once more, as slow loops in double precision, written from its description and not from the graph.
 */
type Plane = { readonly size: number; readonly at: Float64Array };

const grid = 32;
const angles = [0, 1, 2, 3, 4, 5];

/** @returns [1024 · 74] of one picture [3, 256, 256] */
export function referenceFilterBank(picture: Float32Array): Float64Array {
  const [red, green, blue] = [0, 1, 2].map((channel) =>
    plane(256, (y, x) => picture[channel * 65536 + y * 256 + x] as number),
  ) as [Plane, Plane, Plane];
  const light = plane(256, (y, x) => (at(red, y, x) + at(green, y, x) + at(blue, y, x)) / 3);
  const redGreen = plane(256, (y, x) => at(red, y, x) - at(green, y, x));
  const blueYellow = plane(256, (y, x) => (at(red, y, x) + at(green, y, x)) / 2 - at(blue, y, x));

  const evened = pyramid(evenLight(light));
  const oriented = evened.flatMap((level) => angles.map((k) => orientedEnergy(level, k)));
  const spots = evened.flatMap((level) => {
    const response = minus(gaussian(level, 0.7, 5), gaussian(level, 1.5, 7));
    return [1, -1].map((sign) =>
      map(smooth(toGrid(map(response, (v) => Math.max(sign * v, 0) ** 2)), 1, 5), Math.sqrt),
    );
  });
  const [redGreenLevels, blueYellowLevels] = [pyramid(redGreen), pyramid(blueYellow)];
  const color = [1, 2, 3].flatMap((level) =>
    [redGreenLevels, blueYellowLevels].flatMap((levels) =>
      angles.map((k) => orientedEnergy(levels[level] as Plane, k)),
    ),
  );
  const shared = plane(grid, (y, x) => oriented.reduce((sum, energy) => sum + at(energy, y, x), 0) / 24 + 0.004);
  const share = (energy: Plane, weight: number) =>
    plane(grid, (y, x) => Math.sqrt((at(energy, y, x) / at(shared, y, x)) * 0.1 + 1e-5) * weight);
  const channels = [light, redGreen, blueYellow];
  const features = [
    ...oriented.map((energy) => share(energy, 5 / Math.sqrt(24))),
    ...spots.map((energy) => share(energy, 2.5 / Math.sqrt(8))),
    ...color.map((energy) => map(energy, (v) => (Math.sqrt(v + 1e-5) * 5) / 6)),
    ...channels.map((channel) => map(smooth(toGrid(channel), 1, 5), (v) => 0.45 * v)),
    ...channels.map((channel) => map(smooth(cellVariance(channel), 1, 5), (v) => (v + 1e-6) ** 0.25)),
  ];
  return Float64Array.from(
    { length: grid * grid * features.length },
    (_, index) => (features[index % features.length] as Plane).at[Math.floor(index / features.length)] as number,
  );
}

function evenLight(light: Plane): Plane {
  const mean = smooth(toGrid(light), 4, 17);
  const square = smooth(toGrid(map(light, (v) => v * v)), 4, 17);
  const variance = plane(grid, (y, x) => Math.max(0, at(square, y, x) - at(mean, y, x) ** 2));
  const [m, v] = [bilinear(mean, 256), bilinear(variance, 256)];
  return plane(256, (y, x) => (0.25 * (at(light, y, x) - at(m, y, x))) / (Math.sqrt(at(v, y, x) + 4e-4) + 0.02));
}

function orientedEnergy(level: Plane, k: number): Plane {
  const [theta, xi] = [(k * Math.PI) / 6, (2 * Math.PI) / 4];
  const offsets = [-4, -3, -2, -1, 0, 1, 2, 3, 4];
  const taps = offsets.flatMap((dy) =>
    offsets.map((dx) => {
      const u = dx * Math.cos(theta) + dy * Math.sin(theta);
      const v = dy * Math.cos(theta) - dx * Math.sin(theta);
      return { dy, dx, u, g: Math.exp(-(u ** 2 + 0.6 ** 2 * v ** 2) / (2 * 1.8 ** 2)) };
    }),
  );
  const mass = taps.reduce((sum, { g }) => sum + g, 0);
  const realMean = taps.reduce((sum, { g, u }) => sum + g * Math.cos(xi * u), 0) / mass;
  const wavelet = taps.map(({ dy, dx, u, g }) => ({
    dy,
    dx,
    re: (g * (Math.cos(xi * u) - realMean)) / (mass / 2),
    im: (g * Math.sin(xi * u)) / (mass / 2),
  }));
  const energy = plane(level.size, (y, x) => {
    let [re, im] = [0, 0];
    for (const tap of wavelet) {
      const value = at(level, y + tap.dy, x + tap.dx);
      re += tap.re * value;
      im += tap.im * value;
    }
    return re * re + im * im + 1e-8;
  });
  return map(smooth(toGrid(energy), 1, 5), Math.sqrt);
}

function gaussian(source: Plane, sigma: number, taps: number): Plane {
  const half = (taps - 1) / 2;
  const weights = Array.from({ length: taps }, (_, i) => Math.exp(-((i - half) ** 2) / (2 * sigma ** 2)));
  const mass = weights.reduce((sum, weight) => sum + weight, 0);
  const along = (dy: number, dx: number) => (from: Plane) =>
    plane(from.size, (y, x) =>
      weights.reduce((sum, w, i) => sum + (w / mass) * at(from, y + dy * (i - half), x + dx * (i - half)), 0),
    );
  return along(1, 0)(along(0, 1)(source));
}

const smooth = gaussian;

function pyramid(base: Plane): readonly Plane[] {
  const levels = [base];
  for (let level = 1; level < 4; level++) levels.push(average(levels[level - 1] as Plane, 2));
  return levels;
}

function toGrid(source: Plane): Plane {
  return average(source, source.size / grid);
}

function average(source: Plane, side: number): Plane {
  return plane(source.size / side, (row, col) => {
    let sum = 0;
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) sum += at(source, row * side + y, col * side + x);
    return sum / side ** 2;
  });
}

function cellVariance(source: Plane): Plane {
  const mean = toGrid(source);
  return toGrid(plane(source.size, (y, x) => (at(source, y, x) - at(mean, Math.floor(y / 8), Math.floor(x / 8))) ** 2));
}

function bilinear(source: Plane, size: number): Plane {
  const place = (index: number) => {
    const position = Math.min(Math.max(((index + 0.5) * source.size) / size - 0.5, 0), source.size - 1);
    return { low: Math.floor(position), high: Math.ceil(position), part: position - Math.floor(position) };
  };
  return plane(size, (y, x) => {
    const [v, u] = [place(y), place(x)];
    const row = (r: number) => at(source, r, u.low) * (1 - u.part) + at(source, r, u.high) * u.part;
    return row(v.low) * (1 - v.part) + row(v.high) * v.part;
  });
}

function minus(a: Plane, b: Plane): Plane {
  return plane(a.size, (y, x) => at(a, y, x) - at(b, y, x));
}

function map(source: Plane, change: (value: number) => number): Plane {
  return { size: source.size, at: source.at.map(change) };
}

function plane(size: number, value: (y: number, x: number) => number): Plane {
  return {
    size,
    at: Float64Array.from({ length: size * size }, (_, i) => value(Math.floor(i / size), i % size)),
  };
}

/** Mirrored at the border without repeating the edge. */
function at({ size, at: values }: Plane, y: number, x: number): number {
  const inside = (index: number) => {
    const positive = Math.abs(index);
    return positive < size ? positive : 2 * (size - 1) - positive;
  };
  return values[inside(y) * size + inside(x)] as number;
}
