/**
 * Image AUROC over HTTP: `tsx scripts/measure_over_http.ts --url http://127.0.0.1:8000 DIR...` with MVTec-style folders
 * (`train/good`, `test/<kind>`). Fits the good pictures of each folder, inspects all test pictures, prints AUROC per kind.
 * Against a running service, so it measures what a line would get. `--limit N` takes the first N training pictures.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { auroc } from '../src/evaluation/auroc.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8000' },
    limit: { type: 'string', default: '100000' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help || positionals.length === 0) {
  console.log('tsx scripts/measure_over_http.ts [--url URL] [--limit N] DIR...');
  process.exit(options.help ? 0 : 2);
}

function pictures(folder: string): readonly File[] {
  const names = readdirSync(folder).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return names.map((name) => new File([readFileSync(join(folder, name))], name));
}

async function post(path: string, fields: Readonly<Record<string, string>>, field: string, files: readonly File[]) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const file of files) form.append(field, file);
  const response = await fetch(`${options.url}${path}`, { method: 'POST', body: form });
  const body = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${path}: ${response.status} ${JSON.stringify(body)}`);
  return body;
}

for (const folder of positionals) {
  const fields = { role_id: 'measure', roi_id: `${basename(folder)} ${Date.now()}`, mm_per_px: '0.1' };
  const started = performance.now();
  const fit = await post(
    '/fit_ok',
    fields,
    'images',
    pictures(join(folder, 'train/good')).slice(0, Number(options.limit)),
  );
  const fitSeconds = (performance.now() - started) / 1000;
  const scores = new Map<string, number[]>();
  const milliseconds: number[] = [];
  for (const kind of readdirSync(join(folder, 'test')).sort()) {
    const values: number[] = [];
    for (const picture of pictures(join(folder, 'test', kind))) {
      const begun = performance.now();
      const body = await post('/infer', { ...fields, include_heatmap: 'false' }, 'image', [picture]);
      milliseconds.push(performance.now() - begun);
      values.push(body.score as number);
    }
    scores.set(kind, values);
  }
  const good = scores.get('good') ?? [];
  const bad = [...scores].filter(([kind]) => kind !== 'good');
  milliseconds.sort((a, b) => a - b);
  const median = milliseconds[milliseconds.length >> 1] as number;
  console.log(
    `${basename(folder)}: ${fit.extractor}, ${fit.n_images} OK pictures, memory ${fit.coreset_size} of ${fit.n_embeddings} patches, fit ${fitSeconds.toFixed(1)} s, /infer median ${median.toFixed(0)} ms`,
  );
  for (const [kind, values] of bad)
    console.log(`  ${kind.padEnd(16)} ${auroc(good, values).toFixed(4)}  (${good.length} OK, ${values.length} NG)`);
  console.log(
    `  ${'all'.padEnd(16)} ${auroc(
      good,
      bad.flatMap(([, values]) => values),
    ).toFixed(4)}`,
  );
}
