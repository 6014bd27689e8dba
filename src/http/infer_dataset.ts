import { InspectionError } from '../errors.ts';
import { sampleLabels } from '../inspection/dataset_sample.ts';
import type { InspectDatasetRequest, InspectedSample } from '../inspection/inspect_dataset.ts';
import type { AppParts, Route } from './app.ts';
import { base64Of, regionsBody } from './infer.ts';
import type { AnswerLongWork } from './long_work.ts';
import { readJsonRequest } from './request_body.ts';
import { inferDatasetRequest } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /infer_dataset`: every stored sample is inspected. */
export function inferDatasetRoute({ service, config }: AppParts, answerLongWork: AnswerLongWork): Route {
  return {
    method: 'POST',
    path: '/infer_dataset',
    heavy: true,
    handle: async (c) => {
      const fields = await readJsonRequest(c, inferDatasetRequest, config);
      const key = requestedModel(c, fields);
      const wanted = fields.labels ?? [];
      const request = {
        key,
        labels: sampleLabels.filter((label) => wanted.length === 0 || wanted.includes(label)),
        includeHeatmap: fields.include_heatmap ?? false,
        defaultMmPerPx: fields.default_mm_per_px ?? null,
      };
      return await answerLongWork(c, {
        kind: 'infer_dataset',
        key,
        fields,
        work: async (hooks) => inspectionsBody(request, await service.datasets.inspect(request, hooks)),
      });
    },
  };
}

function inspectionsBody(
  { key, includeHeatmap }: Pick<InspectDatasetRequest, 'key' | 'includeHeatmap'>,
  samples: readonly InspectedSample[],
) {
  requireRoomForHeatmaps(samples);
  return {
    status: 'ok',
    role_id: key.roleId,
    roi_id: key.roiId,
    model_key: key.modelKey,
    n_total: samples.length,
    n_errors: samples.filter(({ error }) => error !== null).length,
    items: samples.map((sample) => itemBody(sample, includeHeatmap)),
  };
}

function itemBody(sample: InspectedSample, includeHeatmap: boolean) {
  const { label, filename, inspection, error } = sample;
  const heatmapPng = inspection?.heatmapPng ?? null;
  return {
    label,
    filename,
    mm_per_px: inspection === null ? null : sample.mmPerPx,
    score: inspection?.score ?? null,
    threshold: inspection?.threshold ?? null,
    decision: inspection?.decision ?? null,
    verdict: inspection?.verdict ?? null,
    regions: inspection === null ? [] : regionsBody(inspection),
    n_regions: inspection?.regions.length ?? 0,
    in_memory: inspection === null ? null : sample.inMemory,
    ...(includeHeatmap && { heatmap_png_base64: heatmapPng === null ? null : base64Of(heatmapPng) }),
    error,
  };
}

/** A text of JSON has an end: 512 MiB in Node, and base64 makes four bytes of three. */
const mostHeatmapBytes = 256 * 1024 * 1024;

function requireRoomForHeatmaps(samples: readonly InspectedSample[]): void {
  const bytes = samples.reduce((sum, { inspection }) => sum + (inspection?.heatmapPng?.byteLength ?? 0), 0);
  if (bytes <= mostHeatmapBytes) return;
  throw new InspectionError(
    'invalid_value',
    `The heatmaps of ${samples.length} samples take ${Math.ceil(bytes / 2 ** 20)} MiB, more than the ${mostHeatmapBytes / 2 ** 20} that one answer may hold; ask for one label, or without include_heatmap.`,
  );
}
