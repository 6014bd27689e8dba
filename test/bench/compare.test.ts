import { describe, expect, it } from 'vitest';
import type { BenchRecord } from './bench_record.ts';
import { change, comparison } from './compare.ts';
import type { Figure } from './figure.ts';

const ones = [1, 1.01, 1.02, 1.03, 1.04];
const times = (factor: number) => ones.map((value) => value * factor);

function figure(values: readonly number[], more: Partial<Figure> = {}): Figure {
  return { subject: 'fits', name: 'ten', unit: 'ms', values, reference: null, ...more };
}

const against = (values: readonly number[]) => ({ reference: { name: 'bare run', values } });

describe('change beyond noise', () => {
  it('is a median that moves by more than 5 % and repetitions that chance would not rank so', () => {
    expect(change(figure(ones), figure(times(1.2)))).toMatchObject({ kind: 'worse', factor: expect.closeTo(1.2) });
    expect(change(figure(ones), figure(times(0.8)))).toMatchObject({ kind: 'better', factor: expect.closeTo(0.8) });
  });

  it('is not a small one, however clear', () => {
    expect(change(figure([1, 1, 1, 1, 1]), figure([1.04, 1.04, 1.04, 1.04, 1.04]))).toEqual({ kind: 'noise' });
    expect(change(figure([1, 1, 1, 1, 1]), figure([1.06, 1.06, 1.06, 1.06, 1.06]))).toMatchObject({ kind: 'worse' });
  });

  it('is not a large one among repetitions that overlap', () => {
    expect(change(figure([1, 1, 1, 2, 2]), figure([1, 2, 2, 2, 1]))).toEqual({ kind: 'noise' });
  });

  it('cannot be told from four repetitions', () => {
    expect(change(figure(ones.slice(1)), figure(times(9).slice(1)))).toEqual({ kind: 'too_few' });
  });

  it('goes by the ratio, where there is one', () => {
    const slowMachine = figure(times(2), against(times(2)));
    expect(change(figure(ones, against(ones)), slowMachine)).toEqual({ kind: 'noise' });
    const slowOkng = figure(times(2), against(ones));
    expect(change(figure(ones, against(ones)), slowOkng)).toMatchObject({ kind: 'worse', from: 1, to: 2 });
  });

  it('knows that more pictures a second are better', () => {
    const throughput = { unit: 'pictures/s' } as const;
    expect(change(figure(ones, throughput), figure(times(2), throughput))).toMatchObject({ kind: 'better' });
  });
});

describe('a comparison', () => {
  const record = (figures: readonly Figure[], more: Partial<BenchRecord> = {}): BenchRecord => ({
    measured_at_utc: '2026-01-02T03:04:05.000Z',
    machine: { processor: 'P', cores: '2' },
    versions: { node: 'v20' },
    load: { before: '0', after: '0' },
    sizes: 'usual',
    repetitions: 5,
    left_out: [],
    figures: [...figures],
    ...more,
  });

  it('names what changed, one line each, and counts the rest', () => {
    const old = record([
      figure(ones, { name: 'kept' }),
      figure(ones, { name: 'slower', ...against(ones) }),
      figure(ones, { name: 'gone' }),
      figure(ones, { name: 'bare product' }),
      figure([1], { name: 'seldom' }),
      figure(ones, { name: 'not measured now', subject: 'starts' }),
    ]);
    const now = record([
      figure(ones, { name: 'kept' }),
      figure(times(1.5), { name: 'slower', ...against(ones) }),
      figure(ones, { name: 'added' }),
      figure(times(2), { name: 'bare product' }),
      figure([3], { name: 'seldom' }),
    ]);
    expect(comparison(old, now)).toEqual([
      'compared with the run of 2026-01-02T03:04:05.000Z:',
      'worse    1.50 × as before: fits: slower (1.00 → 1.50 × bare run)',
      'new      fits: added',
      'machine  2.00 × as before: fits: bare product (1.02 → 2.04 ms)',
      'missing  fits: gone',
      '1 figures the same within noise; 1 with too few repetitions to tell',
    ]);
  });

  it('says where machine and versions differ', () => {
    const old = record([], { machine: { processor: 'P', cores: '4' }, versions: { node: 'v20', faiss: '1' } });
    expect(comparison(old, record([])).slice(1, 3)).toEqual([
      'machine differs: cores was 4, is 2',
      'version differs: faiss was 1, is unknown',
    ]);
  });
});
