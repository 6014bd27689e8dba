import type { DatasetListing } from '../inspection/manage_dataset.ts';
import type { AppParts, Route } from './app.ts';
import type { RequestContext } from './context.ts';
import { datasetLabelQuery, datasetQuery, sampleQuery, thumbnailQuery } from './schemas.ts';
import { parseWith, requestedDataset } from './validation.ts';

/** `/datasets/list`, `file`, `meta`, `thumbnail` and `clear`: what is stored, and the end of it. */
export function datasetSampleRoutes({ service: { datasets } }: AppParts): readonly Route[] {
  const requestedSample = (c: RequestContext) => {
    const fields = parseWith(sampleQuery, c.req.query());
    return { key: requestedDataset(c, fields), sample: { label: fields.label, filename: fields.filename } };
  };
  const envelope = (c: RequestContext) => ({ request_id: c.get('requestId'), recipe_id: c.get('recipeId') });

  return [
    {
      method: 'GET',
      path: '/datasets/list',
      handle: async (c) => {
        const key = requestedDataset(c, parseWith(datasetQuery, c.req.query()));
        const { classes, duplicates } = await datasets.list(key);
        return c.json({
          role_id: key.roleId,
          roi_id: key.roiId,
          classes: classesBody(classes),
          duplicates,
          ...envelope(c),
        });
      },
    },
    {
      method: 'GET',
      path: '/datasets/file',
      handle: async (c) => {
        const { key, sample } = requestedSample(c);
        const { bytes, mediaType } = await datasets.file(key, sample);
        return pictureAnswer(c, bytes, mediaType);
      },
    },
    {
      method: 'DELETE',
      path: '/datasets/file',
      handle: async (c) => {
        const { key, sample } = requestedSample(c);
        const deleted = await datasets.remove(key, sample);
        return c.json({ deleted, ...sample, role_id: key.roleId, roi_id: key.roiId, ...envelope(c) });
      },
    },
    {
      method: 'GET',
      path: '/datasets/meta',
      handle: async (c) => {
        const { key, sample } = requestedSample(c);
        // The meta's own recipe_id stays: it is the client's word on the sample.
        return c.json({ ...(await datasets.meta(key, sample)), request_id: c.get('requestId') });
      },
    },
    {
      method: 'GET',
      path: '/datasets/thumbnail',
      handle: async (c) => {
        const { key, sample } = requestedSample(c);
        const { max_side: maxSide } = parseWith(thumbnailQuery, c.req.query());
        return pictureAnswer(c, await datasets.thumbnail(key, sample, maxSide), 'image/jpeg');
      },
    },
    {
      method: 'DELETE',
      path: '/datasets/clear',
      handle: async (c) => {
        const fields = parseWith(datasetLabelQuery, c.req.query());
        const key = requestedDataset(c, fields);
        const cleared = await datasets.clear(key, fields.label);
        return c.json({ cleared, label: fields.label, role_id: key.roleId, roi_id: key.roiId, ...envelope(c) });
      },
    },
  ];
}

/** The classes of a dataset, in the contract's words: of every name whether there is a meta. */
export function classesBody(classes: DatasetListing['classes']) {
  const body = (entries: DatasetListing['classes']['ok']) => ({
    count: entries.length,
    files: entries.map(({ name }) => name),
    meta: Object.fromEntries(entries.map(({ name, hasMeta }) => [name, hasMeta])),
  });
  return { ok: body(classes.ok), ng: body(classes.ng) };
}

/** The bytes came from outside, and a browser must not look for anything but a picture in them. */
function pictureAnswer(c: RequestContext, bytes: Uint8Array, mediaType: string): Response {
  return c.body(bytes as Uint8Array<ArrayBuffer>, 200, {
    'Content-Type': mediaType,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-cache',
  });
}
