import { seededRandom } from '../../src/evaluation/seeded_random.ts';

/** Choices that look random and are the same for the same seed. */
export interface Dice {
  /** A whole number from 0 to `below` - 1. */
  int(below: number): number;
  chance(share: number): boolean;
  pick<T>(values: readonly T[]): T;
  bytes(count: number): Buffer;
}

/** Dice of one request: it can be made again without those before it. */
export function diceFor(seed: number, number: number): Dice {
  const random = seededRandom((Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0);
  const int = (below: number) => Math.floor(random() * below);
  return {
    int,
    chance: (share) => random() < share,
    pick: <T>(values: readonly T[]) => values[int(values.length)] as T,
    bytes: (count) => Buffer.from(Array.from({ length: count }, () => int(256))),
  };
}

/** Changes a few bytes, cuts, repeats, inserts or exchanges pieces. */
export function mutated(dice: Dice, bytes: Buffer): Buffer {
  let changed: Buffer = Buffer.from(bytes);
  for (let left = 1 + dice.int(3); left > 0; left--) {
    const at = dice.int(changed.length + 1);
    const length = Math.min(changed.length - at, 1 + dice.int(dice.pick([2, 16, 4096])));
    const [before, piece, after] = [
      changed.subarray(0, at),
      changed.subarray(at, at + length),
      changed.subarray(at + length),
    ];
    changed = Buffer.concat(
      dice.pick([
        () => [before, dice.bytes(piece.length), after],
        () => [before, dice.bytes(1), piece.subarray(1), after],
        () => [before],
        () => [before, after],
        () => [before, piece, piece, after],
        () => [before, dice.bytes(1 + dice.int(64)), piece, after],
        () => [before, Buffer.alloc(piece.length, dice.pick([0, 0xff, 0x20, 0x0d])), after],
        () => [before, Buffer.from(dice.pick(hostileTexts)), piece, after],
        () => [after, before, piece],
      ])(),
    );
  }
  return changed;
}

/** What has broken services before. */
export const hostileTexts: readonly string[] = [
  '',
  ' ',
  '\0',
  'a\0b',
  '../../../etc/passwd',
  '..\\..\\windows\\win.ini',
  '/etc/passwd',
  'C:\\boot.ini',
  '.',
  '..',
  '%2e%2e%2f',
  '%00',
  '%',
  'last',
  'default',
  'datasets',
  'CON',
  '.tmp-x',
  '__proto__',
  'constructor',
  'toString',
  'a/b',
  'ä\u0301 ✓ 日本 \u{1F600}',
  '\ud800',
  '\udc00x',
  '\u202e\u200b\ufeff',
  '\r\nX-Injected: 1',
  '"; filename="x',
  '{"a":1}',
  '[]',
  'null',
  '{{7*7}}',
  '<script>alert(1)</script>',
  "' OR 1=1 --",
  'x'.repeat(200),
  'x'.repeat(201),
  'x'.repeat(5000),
  '\u{1F600}'.repeat(200),
];

export const hostileNumbers: readonly string[] = [
  ...['0', '-0', '-1', '1', '0.1', '1E-05', '1e999', '-1e999', '1e-999', 'NaN', 'Infinity', '-Infinity', 'inf'],
  ...['1,5', '1_000', '0x10', '١', '１', '1e', '.', '', ' 1 ', '9007199254740993', '1e308', '5e-324', '100', '101'],
  ...['true', 'null', '[]', '1 2', '1;2', '9'.repeat(400)],
];
