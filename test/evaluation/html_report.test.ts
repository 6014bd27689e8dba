import { describe, expect, it } from 'vitest';
import { type EvaluationReport, metricNames, type SetReport } from '../../src/evaluation/evaluation_report.ts';
import { htmlReport } from '../../src/evaluation/html_report.ts';
import { noMetric, someReport, someSet, someShown } from './some_report.ts';

const hostile = `<script>alert("1")</script>'&`;
const escaped = '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;';

/** Every text of the report is hostile. */
function hostileReport(): EvaluationReport {
  const shown = someShown({ file: hostile, kind: hostile, why: [hostile] });
  const set = someSet({
    name: hostile,
    extractor: hostile,
    settings: { coreset_rate: 1, score_mode: hostile, score_percentile: 1, position_weight: 0 },
    kinds: [{ kind: hostile, pictures: 1, image_auroc: noMetric }],
    threshold: { value: 5, from: 'leave_one_out', rule: hostile },
    ms_per_picture: { [hostile]: 1, total: 1 },
    misses: [shown],
    false_alarms: [shown],
    warnings: [hostile],
  });
  return { okng_version: hostile, created_at_utc: hostile, command: hostile, machine: hostile, sets: [set] };
}

const emptySet = someSet({
  counts: { memory: 1, held_out: 0, ok: 0, ng: 0, coreset_size: 1, embeddings: 1 },
  metrics: Object.fromEntries(metricNames.map((name) => [name, noMetric])) as SetReport['metrics'],
  kinds: [],
  ms_per_picture: {},
  pictures: [],
  misses: [],
  false_alarms: [],
});

const reports: readonly (readonly [string, EvaluationReport])[] = [
  ['an ordinary report', someReport(someSet(), someSet({ seed: 4, warnings: ['one', 'two'] }))],
  ['a hostile report', hostileReport()],
  ['a set without anything', someReport(emptySet)],
  ['no set', someReport()],
];

describe.each(reports)('htmlReport of %s', (_, report) => {
  const page = htmlReport(report);

  it('refers to nothing outside itself', () => {
    expect(page).not.toMatch(/https?:\/\//i);
    for (const [, address] of page.matchAll(/\b(?:src|srcset|poster|data|action)\s*=\s*"([^"]*)"/gi)) {
      expect(address).toMatch(/^data:image\/(?:png|jpeg);base64,/);
    }
    for (const [, address] of page.matchAll(/\b(?:xlink:)?href\s*=\s*"([^"]*)"/gi))
      expect(address).toMatch(/^#set-\d+$/);
    for (const [, address] of page.matchAll(/url\(([^)]*)\)/gi)) expect(address).toMatch(/^#(?:heat|hatch)$/);
    expect(page).not.toMatch(/<script|<link|<iframe|<object|<embed|@import|@font-face/i);
  });

  it('is nested well and has each id once', () => {
    expect(openTags(page)).toEqual([]);
    const ids = [...page.matchAll(/\bid="([^"]*)"/g)].map(([, id]) => id as string);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, id] of page.matchAll(/(?:href="#|aria-labelledby="|url\(#)([\w-]+)/g)) expect(ids).toContain(id);
  });

  it('has no number that is none', () => {
    expect(page).not.toMatch(/NaN|Infinity|undefined|\[object|>null/);
  });
});

describe('htmlReport', () => {
  it('begins as HTML5 and says where it comes from', () => {
    const page = htmlReport(someReport(someSet()));
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    const text = textOf(page);
    for (const part of ['1.2.3', '2025-03-04 05:06 UTC', 'Some CPU, 8 cores', 'okng evaluate tile --seed 3']) {
      expect(text).toContain(part);
    }
  });

  it('escapes every text', () => {
    const page = htmlReport(hostileReport());
    expect(page).not.toContain('alert("1")');
    // version; date as title, attribute and text; command; machine; set and extractor twice; warning; rule; score mode; kind;
    // step; and for each of two pictures: two alternative texts, file, kind, why.
    expect(page.split(escaped).length - 1).toBe(6 + 4 + 5 + 2 * 5);
  });

  it('shows values with their intervals, rates in percent, and a dash where there is none', () => {
    const metrics = { ...someSet().metrics, pixel_auroc: noMetric, au_pro_5: { value: 0.25, interval: null } };
    const page = htmlReport(someReport(someSet({ metrics })));
    const cell = (label: string) =>
      textOf(new RegExp(`data-label="${label}"[^>]*>(.*?)</td>`, 's').exec(page.replaceAll('\u00a0', ' '))?.[1] ?? '');
    expect(cell('Image AUROC')).toBe('0.988[0.951, 1.000]');
    expect(cell('Escape')).toBe('33.3 %[0.0, 100.0] %');
    expect(cell('Pixel AUROC')).toBe('–');
    expect(cell('AU-PRO 5 %')).toBe('0.250');
    expect(cell('ms per picture')).toBe('34.6');
  });

  it('counts both kinds of error at the threshold and shows their pictures', () => {
    const text = textOf(htmlReport(someReport(someSet())));
    expect(text).toContain('1 of 3 NG pictures passes as OK, and 1 of 2 OK pictures is rejected');
    expect(text).toContain('test/fray/1.pngfray, score 4.0000Nearest OK picture: train/good/7.png');
    expect(text).toContain('test/good/2.pnggood, score 5.0000');
  });

  it('says how many errors are not shown', () => {
    const pictures = [...someSet().pictures, { file: 'test/fray/2.png', kind: 'fray', score: 4.5 }];
    expect(textOf(htmlReport(someReport(someSet({ pictures }))))).toContain('1 of 2 pictures, lowest score first');
    expect(textOf(htmlReport(someReport(someSet({ false_alarms: [] }))))).toContain('1 picture; none is shown');
  });

  it('says so when nothing was missed and nothing falsely rejected', () => {
    const pictures = someSet().pictures.filter(({ score }) => score === 1 || score > 5);
    const page = htmlReport(someReport(someSet({ pictures, misses: [], false_alarms: [] })));
    expect(page).not.toContain('<img');
    expect(textOf(page)).toContain('None: all 2 NG pictures scored at or above the threshold.');
    expect(textOf(page)).toContain('None: all 1 OK picture scored below the threshold.');
  });

  it('says so when a set has no pictures of one sort', () => {
    const text = textOf(htmlReport(someReport(emptySet)));
    expect(text).toContain('the set has no NG pictures to miss, and it has no OK pictures to reject');
    expect(text).toContain('The set has no NG pictures.');
    expect(text).toContain('The set has no OK pictures.');
  });

  it('shows a mask where there is one and leaves its place empty where only another picture has one', () => {
    const masked = someSet().misses[0] as SetReport['misses'][number];
    const page = (misses: SetReport['misses']) => htmlReport(someReport(someSet({ misses, false_alarms: [] })));
    expect(page([masked, someShown()]).match(/class="mask"/g)).toHaveLength(1);
    expect(page([masked, someShown()]).match(/no mask/g)).toHaveLength(1);
    expect(page([someShown()])).not.toContain('no mask');
    expect(page([someShown()])).toContain('class="gallery pairs"');
  });

  it('draws a set whose scores are all equal', () => {
    const pictures = someSet().pictures.map((picture) => ({ ...picture, score: 5 }));
    const page = htmlReport(someReport(someSet({ pictures, misses: [] })));
    expect(page.match(/: 2 OK, 3 NG<\/title>/g)).toHaveLength(1);
    expect(textOf(page)).toContain('0 of 3 NG pictures pass as OK, and 2 of 2 OK pictures are rejected');
    expect(page).toContain('<title id="set-1-scores">Histogram of the scores: 2 OK from 5.0000 to 5.0000, 3 NG');
  });

  it('tells the counts of each bin that has any', () => {
    expect(htmlReport(someReport(someSet())).match(/<rect class="hover"/g)).toHaveLength(5);
  });

  it('lists the defect kinds from the weakest', () => {
    const text = textOf(htmlReport(someReport(someSet())));
    expect(text).toMatch(/fray \(1\)0\.700\s+crack \(2\)0\.900\[0\.800, 1\.000\]/);
  });

  it('puts warnings into the summary and the set', () => {
    const text = textOf(htmlReport(someReport(someSet({ warnings: ['good/3.png looks bad'] }))));
    expect(text).toContain('seed 31 warning');
    expect(text).toContain('1 warninggood/3.png looks bad');
    expect(textOf(htmlReport(someReport(someSet())))).not.toContain('warning');
  });

  it.each(['http:/x/1.png', 'data:image/svg+xml;base64,AA==', 'data:image/png;base64,A"onload=', ''])(
    'refuses the picture %j',
    (picture) => {
      const report = someReport(someSet({ misses: [someShown({ picture })] }));
      expect(() => htmlReport(report)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    },
  );
});

/** What a reader sees, without the style sheet. */
function textOf(markup: string): string {
  return markup
    .replace(/<style>.*?<\/style>/s, '')
    .replace(/<[^>]*>/g, '')
    .replaceAll('\u00a0', ' ');
}

/** The tags still open at the end; throws where one is closed that is not open. */
function openTags(markup: string): string[] {
  const open: string[] = [];
  for (const [tag, slash, name, selfClosed] of markup
    .replace(/<style>.*?<\/style>/s, '')
    .matchAll(/<(\/?)([a-z][\w-]*)(?:\s+[\w:-]+(?:="[^"<>]*")?)*\s*(\/?)>|<(?!!doctype html>)/gi)) {
    if (name === undefined) throw new Error(`A tag that is none: ${tag}`);
    if (selfClosed === '/' || name === 'meta' || name === 'img') continue;
    if (slash === '') open.push(name);
    else if (open.pop() !== name) throw new Error(`${tag} closes what is not open.`);
  }
  return open;
}
