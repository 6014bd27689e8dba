import { InspectionError } from '../errors.ts';
import { type SampleLabel, sampleLabels } from '../inspection/dataset_sample.ts';
import type { UploadRequest } from '../inspection/manage_dataset.ts';
import type { AppParts, Route } from './app.ts';
import { goneSignal } from './context.ts';
import { readFormRequest } from './request_body.ts';
import { uploadForm } from './schemas.ts';
import { requestedDataset } from './validation.ts';

/** `POST /datasets/ok/upload` and `POST /datasets/ng/upload`: pictures become samples. */
export function datasetUploadRoutes(parts: AppParts): readonly Route[] {
  return sampleLabels.map((label) => uploadRoute(parts, label));
}

function uploadRoute({ service, config }: AppParts, label: SampleLabel): Route {
  return {
    method: 'POST',
    path: `/datasets/${label}/upload`,
    heavy: true,
    handle: async (c) => {
      const form = await readFormRequest(c, uploadForm, ['images', 'images[]'], config, ['metas', 'metas[]']);
      const key = requestedDataset(c, form.fields);
      const metas = parseMetas(form.list);
      const upload = await service.datasets.upload({ key, label, pictures: form.pictures, metas }, goneSignal(c));
      return c.json({
        status: 'ok',
        saved: upload.saved,
        label,
        role_id: key.roleId,
        roi_id: key.roiId,
        mm_per_px: upload.mmPerPx,
        duplicates: upload.duplicates.map(({ filename, exact, near }) => ({ filename, exact, near })),
        request_id: c.get('requestId'),
        recipe_id: key.recipeId,
      });
    },
  };
}

/**
 * Reads the metas of an upload: each text is a JSON object, or one of them is the list of all. An empty text or null stands
 * for a picture without a meta; where all are empty there are none.
 *
 * @throws InspectionError `invalid_json`
 */
export function parseMetas(texts: readonly string[]): UploadRequest['metas'] {
  const metas = texts.flatMap((text, i) => {
    const value = text.trim() === '' ? null : parseMeta(text, i);
    return Array.isArray(value) ? value.map((item: unknown) => metaOf(item, i)) : [metaOf(value, i)];
  });
  return metas.every((meta) => meta === null) ? [] : metas.map((meta) => meta ?? {});
}

function parseMeta(text: string, index: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notMeta(index, `it is not valid JSON (${(cause as Error).message.slice(0, 200)})`);
  }
}

function metaOf(value: unknown, index: number): UploadRequest['metas'][number] | null {
  if (value === null) return null;
  if (typeof value === 'object' && !Array.isArray(value)) return value as UploadRequest['metas'][number];
  throw notMeta(index, `it holds ${Array.isArray(value) ? 'a list' : typeof value} where an object must be`);
}

function notMeta(index: number, why: string): InspectionError {
  return new InspectionError(
    'invalid_json',
    `metas[${index}] is no meta: ${why}; send one JSON object for each of the images.`,
  );
}
