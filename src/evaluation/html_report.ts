import { InspectionError } from '../errors.ts';
import type { EvaluationReport, Metric, MetricName, SetReport, ShownPicture } from './evaluation_report.ts';
import { metricNames } from './evaluation_report.ts';
import { histogramSvg } from './histogram_svg.ts';
import { type Html, html, trustedHtml } from './html.ts';
import { intervalText, metricText, metricWords, msText, noValue, scoreText } from './metric_words.ts';
import { reportStyle } from './report_style.ts';

/** Dark violet, orange, yellow: ascending in brightness, so that it also reads in gray and without red or green. */
const heatColors = ['#1f0c48', '#550f6d', '#88226a', '#bc3754', '#e35933', '#f98e09', '#f9c932', '#fcf5a0'];

const higherBetter = metricNames.filter((name) => metricWords[name].better === 'higher');
const lowerBetter = metricNames.filter((name) => metricWords[name].better === 'lower');

/**
 * The report as one HTML page for a quality engineer: what was measured, how sure it is, and which pictures were judged
 * wrongly. It needs no other file, no network and no script, and forbids itself all three. All text is escaped: file names
 * come from strangers.
 *
 * @returns a whole HTML5 document, as large as the data: URLs in it
 * @throws InspectionError `invalid_value` for a score that is not finite, and for a picture that is no base64 PNG or
 *   JPEG data: URL, because the page would then depend on something outside
 */
export function htmlReport(report: EvaluationReport): string {
  return `${
    html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>okng evaluation ${dateText(report.created_at_utc)}</title>
<style>${trustedHtml(reportStyle)}</style>
</head>
<body>
${paints()}
<header>
<h1>Evaluation of anomaly inspection</h1>
<dl class="origin">
<dt>okng</dt><dd>${report.okng_version}</dd>
<dt>Date</dt><dd><time datetime="${report.created_at_utc}">${dateText(report.created_at_utc)}</time></dd>
<dt>Machine</dt><dd>${report.machine}</dd>
<dt>Command</dt><dd><code>${report.command}</code></dd>
</dl>
</header>
<main>
${report.sets.length === 0 ? html`<section class="card"><p>No set was evaluated.</p></section>` : summary(report.sets)}
${report.sets.map(setSection)}
</main>
</body>
</html>
`.markup
  }`;
}

/** What the page's style sheet refers to: the colours of heatmaps and the hatching of NG bars. */
function paints(): Html {
  const channel = (at: number) =>
    heatColors.map((color) => (Number.parseInt(color.slice(at, at + 2), 16) / 255).toFixed(3)).join(' ');
  return html`<svg class="hidden" aria-hidden="true" focusable="false">
<filter id="heat" color-interpolation-filters="sRGB">
<feColorMatrix type="matrix" values="1 0 0 0 0  1 0 0 0 0  1 0 0 0 0  0 0 0 1 0"/>
<feComponentTransfer><feFuncR type="table" tableValues="${channel(1)}"/><feFuncG type="table" tableValues="${channel(3)}"/><feFuncB type="table" tableValues="${channel(5)}"/></feComponentTransfer>
</filter>
<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch-line" d="M1 0V7"/></pattern>
</svg>`;
}

function summary(sets: readonly SetReport[]): Html {
  return html`<section class="card">
<h2>Summary</h2>
<table class="summary">
<thead>
<tr class="group"><td></td><th colspan="${higherBetter.length}" scope="colgroup">higher is better</th><th colspan="${lowerBetter.length + 1}" scope="colgroup">lower is better</th></tr>
<tr><th scope="col">Set, extractor, seed</th>${[...higherBetter, ...lowerBetter].map((name) => html`<th scope="col" class="number">${metricWords[name].title}</th>`)}<th scope="col" class="number">ms per picture</th></tr>
</thead>
<tbody>
${sets.map(
  (set, i) =>
    html`<tr><th scope="row"><a href="#${setId(i)}"><bdi>${set.name}</bdi></a><span class="from"><bdi>${set.extractor}</bdi>, seed ${set.seed}</span>${set.warnings.length === 0 ? '' : html`<span class="flag">${counted(set.warnings.length, 'warning')}</span>`}</th>${[...higherBetter, ...lowerBetter].map((name) => html`<td data-label="${metricWords[name].title}" class="number">${metricCell(name, set.metrics[name])}</td>`)}<td data-label="ms per picture" class="number">${msText(set.ms_per_picture.total)}</td></tr>
`,
)}</tbody>
</table>
<details>
<summary>What the numbers mean</summary>
<dl class="meanings">
${metricNames.map((name) => html`<dt>${metricWords[name].title}</dt><dd>${metricWords[name].meaning}</dd>`)}
<dt>ms per picture</dt><dd>The median time that one picture takes, all steps together.</dd>
<dt>[ , ]</dt><dd>The 95 % interval: with other pictures of the same kind the value would probably lie in it; the fewer pictures, the wider it is.</dd>
<dt>${noValue}</dt><dd>The set does not allow this number, such as pixel metrics without masks of the defects.</dd>
</dl>
</details>
</section>`;
}

function setSection(set: SetReport, i: number): Html {
  const id = setId(i);
  const ok = set.pictures.filter(({ kind }) => kind === 'good').map(({ score }) => score);
  const ng = set.pictures.filter(({ kind }) => kind !== 'good').map(({ score }) => score);
  const missed = ng.filter((score) => score < set.threshold.value).length;
  const rejected = ok.filter((score) => score >= set.threshold.value).length;
  return html`
<section class="card" id="${id}">
<h2><bdi>${set.name}</bdi> <span class="soft">${set.extractor}, seed ${set.seed}</span></h2>
${warnings(set.warnings)}
<div class="verdict">
<p><span class="value">Threshold ${scoreText(set.threshold.value)}</span></p>
<p>Rule: ${set.threshold.rule}; ${thresholdOrigin(set)}.</p>
<p>With it, ${ng.length === 0 ? 'the set has no NG pictures to miss' : html`${missed} of ${counted(ng.length, 'NG picture')} ${missed === 1 ? 'passes' : 'pass'} as OK`}, and ${ok.length === 0 ? 'it has no OK pictures to reject' : html`${rejected} of ${counted(ok.length, 'OK picture')} ${rejected === 1 ? 'is' : 'are'} rejected`}.</p>
</div>
<div class="columns">
<div>
<h3>Scores</h3>
<figure>
<div class="legend"><span>${swatch('ok')}OK (${ok.length})</span><span>${swatch('ng')}NG (${ng.length})</span></div>
${histogramSvg(`${id}-scores`, ok, ng, set.threshold.value)}
<figcaption>Height: pictures per bin. Strokes beneath: one per picture. A score at or above the threshold is judged NG.</figcaption>
</figure>
<h3>Memory and settings</h3>
${facts(set)}
</div>
<div>
<h3>Image AUROC per defect kind</h3>
${kinds(set.kinds)}
<h3>Time per picture</h3>
${steps(set.ms_per_picture)}
</div>
</div>
${missedGallery(set.misses, missed, ng.length)}
${alarmGallery(set.false_alarms, rejected, ok.length)}
</section>`;
}

function warnings(texts: readonly string[]): Html {
  if (texts.length === 0) return html``;
  return html`<div class="warnings" role="note"><strong>${counted(texts.length, 'warning')}</strong><ul>${texts.map((text) => html`<li>${text}</li>`)}</ul></div>`;
}

function thresholdOrigin({ threshold, counts }: SetReport): string {
  return threshold.from === 'held_out'
    ? `the ${counted(counts.held_out, 'OK picture')} it comes from ${counts.held_out === 1 ? 'was' : 'were'} held out and ${counts.held_out === 1 ? 'is' : 'are'} in no memory`
    : `it comes from the OK pictures of the memory, each scored against the memory without it (leave one out)`;
}

function facts({ counts, settings, fit_s }: SetReport): Html {
  const rows: readonly (readonly [string, string, string?])[] = [
    ['Memory', counted(counts.memory, 'OK picture')],
    ['Held out', counts.held_out === 0 ? 'none' : counted(counts.held_out, 'OK picture')],
    ['Test', `${counts.ok.toLocaleString('en')} OK, ${counts.ng.toLocaleString('en')} NG`],
    ['Coreset', counts.coreset_size.toLocaleString('en'), `of ${counts.embeddings.toLocaleString('en')} embeddings`],
    ['Coreset rate', String(settings.coreset_rate)],
    ['Score mode', settings.score_mode],
    ['Score percentile', String(settings.score_percentile)],
    ['Position weight', settings.position_weight === 0 ? 'off' : String(settings.position_weight)],
    ['Time to fit', `${fit_s.toFixed(1)} s`],
  ];
  return html`<dl class="facts">
${rows.map(([term, value, note]) => html`<div><dt>${term}</dt><dd>${value}${note === undefined ? '' : html` <span class="soft">${note}</span>`}</dd></div>`)}
</dl>`;
}

function kinds(rows: SetReport['kinds']): Html {
  if (rows.length === 0) return html`<p>The set has no defect kinds.</p>`;
  const weakestFirst = rows.toSorted((a, b) => (a.image_auroc.value ?? 2) - (b.image_auroc.value ?? 2));
  return html`<table class="kinds">
<tbody>
${weakestFirst.map(
  ({ kind, pictures, image_auroc }) =>
    html`<tr><th scope="row"><bdi>${kind}</bdi> <span class="soft">(${pictures})</span></th><td class="bar">${kindBar(image_auroc)}</td><td class="number">${metricCell('image_auroc', image_auroc)}</td></tr>
`,
)}</tbody>
</table>
<p class="soft"><small>Weakest first, with the number of pictures. Bars from 0 to 1, thin line: 95 % interval, dashed: guessing.</small></p>`;
}

function kindBar({ value, interval }: Metric): Html {
  if (value === null) return html``;
  return html`<svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="14"/><rect class="fill" width="${(value * 100).toFixed(2)}" height="14"/><path class="guess" d="M50 0V14"/>${
    interval === null
      ? ''
      : html`<path class="whisker" d="M${(interval[0] * 100).toFixed(2)} 7H${(interval[1] * 100).toFixed(2)}"/>`
  }</svg>`;
}

function steps(msPerPicture: SetReport['ms_per_picture']): Html {
  const names = Object.keys(msPerPicture).filter((name) => name !== 'total');
  return html`<table class="steps">
<thead><tr><th scope="col">Step</th><th scope="col" class="number">ms (median)</th></tr></thead>
<tbody>
${[...names, 'total'].map((name) => html`<tr><td>${name.replaceAll('_', ' ')}</td><td class="number">${msText(msPerPicture[name])}</td></tr>`)}
</tbody>
</table>`;
}

function missedGallery(shown: readonly ShownPicture[], missed: number, pictures: number): Html {
  const title = html`<h3>Missed defects (NG below the threshold)</h3>`;
  if (pictures === 0) return html`${title}<p>The set has no NG pictures.</p>`;
  if (missed === 0)
    return html`${title}<p>None: all ${counted(pictures, 'NG picture')} scored at or above the threshold.</p>`;
  return html`${title}${gallery(shown, missed, 'lowest score first')}`;
}

function alarmGallery(shown: readonly ShownPicture[], rejected: number, pictures: number): Html {
  const title = html`<h3>False alarms (OK at or above the threshold)</h3>`;
  if (pictures === 0) return html`${title}<p>The set has no OK pictures.</p>`;
  if (rejected === 0)
    return html`${title}<p>None: all ${counted(pictures, 'OK picture')} scored below the threshold.</p>`;
  return html`${title}${gallery(shown, rejected, 'highest score first')}`;
}

function gallery(shown: readonly ShownPicture[], all: number, order: string): Html {
  if (shown.length === 0) return html`<p>${counted(all, 'picture')}; none is shown in this report.</p>`;
  const withMasks = shown.some(({ mask }) => mask !== null);
  const colors = heatColors.map((color, i) => html`<rect x="${i * 12}" width="12" height="10" fill="${color}"/>`);
  return html`<p class="soft">${shown.length < all ? html`${shown.length} of ${all} pictures` : counted(all, 'picture')}, ${order}. Heatmap: least<svg class="scale" viewBox="0 0 96 10" aria-hidden="true">${colors}</svg>most anomalous of the same picture; colours of two pictures do not compare.</p>
<div class="gallery ${withMasks ? 'triples' : 'pairs'}">
${shown.map((picture) => shownPicture(picture, withMasks))}
</div>`;
}

function shownPicture(picture: ShownPicture, withMask: boolean): Html {
  const { file, kind, score, why } = picture;
  return html`<figure class="shown">
<div class="views">
<div class="view"><img src="${dataUrl(file, picture.picture)}" alt="picture ${file}">picture</div>
<div class="view"><img class="heat" src="${dataUrl(file, picture.heatmap)}" alt="heatmap of ${file}">heatmap</div>
${withMask ? html`<div class="view">${picture.mask === null ? html`<span class="none">no mask</span>` : html`<img class="mask" src="${dataUrl(file, picture.mask)}" alt="true defect in ${file}">`}true defect</div>` : ''}
</div>
<figcaption><div class="file"><bdi>${file}</bdi></div><div>${kind}, score ${scoreText(score)}</div>${why.length === 0 ? '' : html`<ul>${why.map((line) => html`<li>${line}</li>`)}</ul>`}</figcaption>
</figure>`;
}

function dataUrl(file: string, url: string): string {
  if (/^data:image\/(?:png|jpeg);base64,[A-Za-z0-9+/=]+$/.test(url)) return url;
  throw new InspectionError(
    'invalid_value',
    `A report shows pictures as base64 data: URLs of PNG or JPEG, but ${file} has one that starts with "${url.slice(0, 24)}".`,
  );
}

function metricCell(name: MetricName, metric: Metric): Html {
  const interval = intervalText(name, metric);
  return html`${metricText(name, metric)}${interval === '' ? '' : html`<span class="interval">${interval}</span>`}`;
}

function swatch(kind: 'ok' | 'ng'): Html {
  const box = 'M1 1H21V11H1z';
  return html`<svg viewBox="0 0 22 12" aria-hidden="true"><path class="${kind}-bar" d="${box}"/>${kind === 'ng' ? html`<path class="ng-hatch" d="${box}"/>` : ''}</svg>`;
}

function setId(i: number): string {
  return `set-${i + 1}`;
}

function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** `2025-03-04 05:06 UTC`; a text in another form stays as it is. */
function dateText(utc: string): string {
  const parts = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z$/.exec(utc);
  return parts === null ? utc : `${parts[1]} ${parts[2]} UTC`;
}
