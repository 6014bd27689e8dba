import { expect, it } from 'vitest';
import { digits, table } from './table.ts';

it('gives the ratio of the same repetitions first', () => {
  const product = [4, 10, 2];
  const text = table('Search', [
    { subject: 's', name: 'bare product', unit: 'ms', values: product, reference: null },
    {
      subject: 's',
      name: 'ours',
      unit: 'ms',
      values: [12, 20, 4],
      reference: { name: 'bare product', values: product },
    },
  ]);
  expect(text.split('\n')).toEqual([
    '',
    'Search',
    '   ratio   median      p95      min   n  figure, unit (ratio to)',
    '             4.00     9.40     2.00   3  bare product, ms',
    '  2.00 ×     12.0     19.2     4.00   3  ours, ms (bare product)',
    '',
  ]);
});

it.each([
  [1234.5, '1235'],
  [99.94, '99.9'],
  [1.234, '1.23'],
  [0.0123, '0.012'],
])('writes %d as %s', (value, text) => {
  expect(digits(value)).toBe(text);
});
