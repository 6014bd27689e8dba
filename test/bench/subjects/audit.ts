import { partPictures } from '../../parts.ts';
import type { BenchContext } from '../bench_context.ts';
import { interleaved, timed } from '../interleaved.ts';
import { type Served, withService } from './served.ts';

const role = 'audit';
const atOnce = 8;

/** What a line on the disk adds to a verdict: two services that differ in BDI_AUDIT only, asked in turn. */
export async function benchAudit(context: BenchContext): Promise<void> {
  const environment = { EXTRACTOR: 'embedded' };
  await withService(context, { environment }, (plain) =>
    withService(context, { environment: { ...environment, BDI_AUDIT: '1' } }, (audited) =>
      benchBoth(context, plain, audited),
    ),
  );
}

async function benchBoth(context: BenchContext, plain: Served, audited: Served): Promise<void> {
  context.tell('the same pictures without and with an audit');
  const [picture] = partPictures('test/good');
  if (picture === undefined) throw new Error('There are no pictures of good parts to inspect.');
  for (const served of [plain, audited]) await served.fit(role, 10);
  const one = (served: Served) => served.infer(role, picture, { include_heatmap: 'false' });
  const many = (served: Served) => Promise.all(Array.from({ length: atOnce }, () => one(served)));
  const times = await interleaved(
    {
      plain: timed(() => one(plain)),
      audited: timed(() => one(audited)),
      manyPlain: timed(() => many(plain)),
      manyAudited: timed(() => many(audited)),
    },
    { repetitions: context.repetitions, warmup: 3, signal: context.signal },
  );
  const without = (values: readonly number[]) => ({ name: 'without audit', values });
  context.report('Audit (BDI_AUDIT=1), embedded', [
    { name: 'one caller without audit', unit: 'ms', values: times.plain, reference: null },
    { name: 'one caller with audit', unit: 'ms', values: times.audited, reference: without(times.plain) },
    { name: `${atOnce} at once without audit`, unit: 'ms', values: times.manyPlain, reference: null },
    {
      name: `${atOnce} at once with audit`,
      unit: 'ms',
      values: times.manyAudited,
      reference: without(times.manyPlain),
    },
  ]);
}
