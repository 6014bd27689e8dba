import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textTable } from '../../src/evaluation/text_table.ts';
import { noMetric, someReport, someSet } from './some_report.ts';

const word = fc.string({ unit: fc.constantFrom('a', 'b', '/'), minLength: 1, maxLength: 400, size: 'max' });

describe('textTable', () => {
  it('has a line per set, aligned, then the warnings', () => {
    const metrics = {
      ...someSet().metrics,
      image_auroc: { value: 1, interval: null },
      pixel_auroc: noMetric,
      au_pro_30: noMetric,
      overkill_rate: { value: 1, interval: null },
    };
    const counts = { ...someSet().counts, ok: 467, ng: 33 };
    const report = someReport(
      someSet({ warnings: ['good/3.png looks bad'] }),
      someSet({ name: '솔라셀', seed: 12, metrics, counts, ms_per_picture: {} }),
    );
    expect(textTable(report)).toBe(
      [
        'set     extractor  seed  memory OK  test OK/NG  image AUROC [95 %]       AP     F1  pixel AUROC  AU-PRO30  overkill  escape    ms',
        'tile    filters       3         40         2/3  0.988 [0.951, 1.000]  0.500  0.500        0.500     0.500    50.0 %  33.3 %  34.6',
        '솔라셀  filters      12         40      467/33  1.000                 0.500  0.500            –         –   100.0 %  33.3 %     –',
        'warning: tile (filters, seed 3): good/3.png looks bad',
        '',
      ].join('\n'),
    );
  });

  it('says so when there is no set', () => {
    expect(textTable(someReport())).toBe('No set was evaluated.\n');
  });

  it('cuts long names and keeps every number', () => {
    const set = someSet({ name: 'n'.repeat(300), extractor: 'e'.repeat(300), seed: 4294967295 });
    const [, line = ''] = textTable(someReport(set)).split('\n');
    expect(line).toHaveLength(170);
    expect(line).toMatch(/^n{20,}… {2}e{20,}… {2}4294967295 .* 34\.6$/);
  });

  it('leaves the room of a short name to the other', () => {
    const [, line = ''] = textTable(someReport(someSet({ extractor: 'e'.repeat(48) }))).split('\n');
    expect(line).toContain('e'.repeat(48));
  });

  it('breaks a long warning and loses none of it', () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), (words) => {
        const lines = textTable(someReport(someSet({ warnings: [words.join(' ')] })))
          .split('\n')
          .slice(2, -1);
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(170);
        for (const line of lines.slice(1)) expect(line).toMatch(/^ {2}\S/);
        expect(lines.join('').replaceAll(' ', '')).toBe(`warning:tile(filters,seed3):${words.join('')}`);
      }),
    );
  });

  it('lets no name command the terminal', () => {
    const text = textTable(someReport(someSet({ name: 'a\u001b[2J', extractor: 'b\nc', warnings: ['d\u0007'] })));
    expect(text.split('\n')).toHaveLength(4);
    expect(text.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });
});
