import { type Html, html } from './html.ts';
import { scoreText } from './metric_words.ts';
import { axisTicks, scoreHistogram } from './score_histogram.ts';

// In the drawing's own units; the page scales it to its column.
const width = 720;
const left = 52;
const right = 708;
const top = 30;
const base = 214;
const strokes = { ok: 222, ng: 244, height: 15 };
const bottom = strokes.ng + strokes.height;

/**
 * OK and NG scores overlaid in common bins, beneath them one stroke per picture, and the threshold. Needs the page's style sheet
 * and its `hatch` pattern: OK is plain, NG hatched, so that the two differ without colour.
 *
 * @param id of the title within the page
 */
export function histogramSvg(
  id: string,
  okScores: readonly number[],
  ngScores: readonly number[],
  threshold: number,
): Html {
  const { edges, ok, ng } = scoreHistogram(okScores, ngScores, threshold);
  const low = edges[0] as number;
  const high = edges[edges.length - 1] as number;
  const mostPictures = Math.max(1, ...ok, ...ng);
  const x = (score: number) => left + ((score - low) / (high - low)) * (right - left);
  const y = (pictures: number) => base - (pictures / mostPictures) * (base - top);
  const thresholdX = x(threshold);
  const labelLeft = thresholdX > (left + right) / 2;
  const yTicks = axisTicks(0, mostPictures, 5).filter(({ at }) => Number.isInteger(at) && at > 0);

  const bars = (counts: readonly number[]): string =>
    counts
      .map((count, i) => {
        if (count === 0) return '';
        const from = x(edges[i] as number) + 0.75;
        const to = x(edges[i + 1] as number) - 0.75;
        // One picture among hundreds must not vanish.
        const height = Math.max(2, base - y(count));
        return `M${from.toFixed(1)} ${base}v${(-height).toFixed(1)}H${to.toFixed(1)}V${base}z`;
      })
      .join('');
  const strokePath = (scores: readonly number[], at: number): string =>
    [...new Set(scores.map((score) => `M${x(score).toFixed(1)} ${at}v${strokes.height}`))].join('');

  return html`<svg class="histogram" viewBox="0 0 ${width} 306" role="img" aria-labelledby="${id}">
<title id="${id}">Histogram of the scores: ${rangeText('OK', okScores)}, ${rangeText('NG', ngScores)}, threshold ${scoreText(threshold)}.</title>
${axisTicks(low, high, 8).map(
  ({ at, label }) =>
    html`<path class="grid" d="M${x(at).toFixed(1)} ${top}V${bottom + 5}"/><text x="${x(at).toFixed(1)}" y="${bottom + 19}" text-anchor="middle">${label}</text>`,
)}
${yTicks.map(
  ({ at, label }) =>
    html`<path class="grid" d="M${left} ${y(at).toFixed(1)}H${right}"/><text x="${left - 8}" y="${(y(at) + 4.5).toFixed(1)}" text-anchor="end">${label}</text>`,
)}
<path class="axis" d="M${left} ${base}H${right}"/>
<path class="ok-bar" d="${bars(ok)}"/>
<path class="ng-bar" d="${bars(ng)}"/>
<path class="ng-hatch" d="${bars(ng)}"/>
<text x="${left - 8}" y="${strokes.ok + 13}" text-anchor="end">OK</text>
<path class="ok-stroke" d="${strokePath(okScores, strokes.ok)}"/>
<text x="${left - 8}" y="${strokes.ng + 13}" text-anchor="end">NG</text>
<path class="ng-stroke" d="${strokePath(ngScores, strokes.ng)}"/>
<path class="threshold" d="M${thresholdX.toFixed(1)} ${top - 8}V${bottom}"/>
<text class="strong" x="${(labelLeft ? thresholdX - 4 : thresholdX + 4).toFixed(1)}" y="${top - 12}" text-anchor="${labelLeft ? 'end' : 'start'}">threshold ${scoreText(threshold)}</text>
<text x="${(left + right) / 2}" y="${bottom + 42}" text-anchor="middle">score</text>
${ok.flatMap((okCount, i) => {
  const ngCount = ng[i] as number;
  if (okCount + ngCount === 0) return [];
  const from = edges[i] as number;
  const to = edges[i + 1] as number;
  return [
    html`<rect class="hover" x="${x(from).toFixed(1)}" y="${top}" width="${(x(to) - x(from)).toFixed(1)}" height="${base - top}"><title>${scoreText(from)} to ${scoreText(to)}: ${okCount} OK, ${ngCount} NG</title></rect>`,
  ];
})}
</svg>`;
}

function rangeText(kind: 'OK' | 'NG', scores: readonly number[]): string {
  if (scores.length === 0) return `no ${kind} pictures`;
  const low = scores.reduce((a, b) => Math.min(a, b));
  const high = scores.reduce((a, b) => Math.max(a, b));
  return `${scores.length} ${kind} from ${scoreText(low)} to ${scoreText(high)}`;
}
