/** The page's style sheet. Fonts are the system's: the page may be opened where there is no network. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --page: #f4f5f6; --card: #ffffff; --ink: #1d2327; --soft: #59636b; --line: #d9dee2; --faint: #eceff1;
  --ok: #0072b2; --ng: #c2500a; --warn: #8a5a00; --warn-card: #fdf5e3; --link: #005a8e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181b; --card: #1c2125; --ink: #e4e8ea; --soft: #9aa5ad; --line: #353d43; --faint: #262c31;
    --ok: #56b4e9; --ng: #f0934a; --warn: #e9b44c; --warn-card: #2c2618; --link: #7cc4f0;
  }
}
* { box-sizing: border-box; }
html { font-size: 93.75%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
header, main { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
main { padding-bottom: 48px; }
h1 { margin: 0 0 12px; font-size: 1.73rem; font-weight: 650; line-height: 1.25; }
h2 { margin: 0; font-size: 1.4rem; font-weight: 650; line-height: 1.3; overflow-wrap: anywhere; }
h3 { margin: 28px 0 8px; font-size: 1.07rem; font-weight: 650; }
p { margin: 0 0 8px; }
a { color: var(--link); }
code { font: .87rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
bdi { overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.card { margin-top: 20px; padding: 20px 24px 24px; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
.hidden { position: absolute; width: 0; height: 0; overflow: hidden; }

dl { margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.origin { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: 10px 20px; }
.facts dt, .facts .soft { font-size: .87rem; }
.facts dd { font-variant-numeric: tabular-nums; }
.meanings { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin-top: 10px; }
.meanings dt { color: var(--ink); font-weight: 600; }
summary { cursor: pointer; color: var(--link); }
details { margin-top: 16px; }

table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: left; }
td, th { padding: 7px 6px; vertical-align: top; border-bottom: 1px solid var(--line); }
tbody tr:last-child td, tbody tr:last-child th { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.summary { width: 100%; }
.summary thead th { font-size: .87rem; line-height: 1.3; vertical-align: bottom; }
.summary thead .number { white-space: normal; }
.summary .group td { border-bottom: 0; }
.summary .group th { padding: 0; color: var(--soft); font-weight: 400; text-align: center; }
.summary .group th + th { border-left: 12px solid transparent; }
.summary td:first-child, .summary th:first-child { padding-left: 0; }
.summary td:last-child, .summary th:last-child { padding-right: 0; }
.summary tbody th { min-width: 150px; overflow-wrap: anywhere; }
.summary td.number { width: 8%; }
.from { display: block; color: var(--soft); font-size: .8rem; font-weight: 400; }
.interval { display: block; color: var(--soft); font-size: .73rem; line-height: 1.4; }
.flag { display: block; color: var(--warn); font-size: .8rem; font-weight: 600; }
.steps { min-width: 240px; }
.steps td, .steps th { padding: 3px 8px 3px 0; }
.steps thead th { font-weight: 400; color: var(--soft); font-size: .87rem; }
.steps tr:last-child td { font-weight: 600; }

.warnings { margin: 16px 0 0; padding: 10px 16px; background: var(--warn-card); border-left: 4px solid var(--warn); border-radius: 3px; overflow-wrap: anywhere; }
.warnings strong { color: var(--warn); }
.warnings ul { margin: 4px 0 0; padding-left: 20px; }
.verdict { margin: 16px 0 0; padding: 12px 16px; background: var(--faint); border-radius: 3px; }
.verdict p { margin: 0; }
.verdict .value { font-size: 1.2rem; font-weight: 650; font-variant-numeric: tabular-nums; }

.columns { display: grid; grid-template-columns: minmax(0, 1.75fr) minmax(0, 1fr); gap: 0 40px; }
figure { margin: 0; }
figcaption { font-size: .87rem; color: var(--soft); }
.histogram { display: block; width: 100%; height: auto; }
.histogram text { fill: var(--soft); font-size: 13px; }
.histogram .strong { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--faint); fill: none; }
.axis { stroke: var(--soft); fill: none; }
.ok-bar { fill: var(--ok); fill-opacity: .45; stroke: var(--ok); stroke-width: 1.2; }
.ng-bar { fill: var(--ng); fill-opacity: .12; stroke: var(--ng); stroke-width: 1.6; }
.ng-hatch { fill: url(#hatch); }
.hatch-line { stroke: var(--ng); stroke-width: 2.4; }
.ok-stroke { stroke: var(--ok); stroke-opacity: .65; stroke-width: 1.4; fill: none; }
.ng-stroke { stroke: var(--ng); stroke-opacity: .65; stroke-width: 1.4; fill: none; }
.threshold { stroke: var(--ink); stroke-width: 1.6; stroke-dasharray: 6 4; fill: none; }
.hover { fill: transparent; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin-bottom: 4px; font-size: .87rem; }
.legend svg { width: 22px; height: 12px; margin-right: 6px; vertical-align: -1px; }

.kinds { width: 100%; }
.kinds td, .kinds th { padding: 5px 8px 5px 0; border-bottom: 0; vertical-align: middle; }
.kinds th { font-weight: 400; overflow-wrap: anywhere; }
.kinds .bar { width: 42%; }
.kinds td:last-child { padding-right: 0; }
.kinds svg { display: block; width: 100%; height: 14px; }
.track { fill: var(--faint); }
.fill { fill: var(--ok); fill-opacity: .55; }
.whisker { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.guess { stroke: var(--soft); stroke-dasharray: 2 2; vector-effect: non-scaling-stroke; }

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 20px; margin-top: 12px; }
.gallery.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.shown { padding: 12px; border: 1px solid var(--line); border-radius: 4px; break-inside: avoid; }
.views { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 8px; }
.pairs .views { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.view { display: flex; flex-direction: column; font-size: .8rem; color: var(--soft); }
.view img { display: block; width: 100%; height: auto; max-height: 320px; object-fit: contain; background: var(--faint); }
.view .heat { filter: url(#heat); }
.view .mask { image-rendering: pixelated; }
.view .none { display: flex; flex: 1; min-height: 60px; align-items: center; justify-content: center; border: 1px dashed var(--line); }
.shown figcaption { margin-top: 8px; }
.shown .file { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
.shown ul { margin: 4px 0 0; padding-left: 18px; overflow-wrap: anywhere; }
.scale { display: inline-block; width: 96px; height: 10px; margin: 0 6px; vertical-align: -1px; }

@media (max-width: 900px) {
  .columns { grid-template-columns: minmax(0, 1fr); }
}
@media screen and (max-width: 1080px) {
  .summary, .summary tbody, .summary tr { display: block; }
  .summary thead { display: none; }
  .summary tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 10px 16px; padding: 14px 0; border-bottom: 1px solid var(--line); }
  .summary tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  .summary td, .summary tbody th { display: block; padding: 0; border: 0; text-align: left; }
  .summary tbody th { grid-column: 1 / -1; font-size: 1.07rem; }
  .summary td::before { content: attr(data-label); display: block; color: var(--soft); font-size: .8rem; }
}
@media (max-width: 600px) {
  header, main { padding-left: 12px; padding-right: 12px; }
  .card { padding: 16px 14px 18px; }
  .origin, .meanings { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .origin dd, .meanings dd { margin-bottom: 8px; }
  .summary tr { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px 16px; }
  .histogram text { font-size: 21px; }
  .shown { padding: 8px; }
}
@page { size: landscape; margin: 12mm; }
@media print {
  :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --faint: #eee; --ok: #0072b2; --ng: #c2500a; --warn: #6b4600; --warn-card: #fdf5e3; --link: #000; }
  html { font-size: 11px; }
  body { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  header, main { max-width: none; padding: 0; }
  .card { padding: 12px 0; border-width: 1px 0 0; border-radius: 0; }
  .gallery { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .gallery.pairs { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  h2, h3 { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  summary { list-style: none; }
}
`;
