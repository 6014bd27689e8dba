import { z } from 'zod';
import type { ErrorCode } from '../errors.ts';
import { sampleLabels } from '../inspection/dataset_sample.ts';
import { longestDeadlineMs } from './context.ts';
import { mostPictures } from './infer.ts';
import { statusOf } from './problem.ts';
import {
  aliveResponse,
  calibrateDatasetResponse,
  calibrateNgResponse,
  datasetClearedResponse,
  datasetListResponse,
  fitOkResponse,
  generationListResponse,
  healthResponse,
  inferDatasetResponse,
  inferResponse,
  jobListResponse,
  jobResponse,
  jobWithResult,
  manifestResponse,
  modelHealthResponse,
  modelListResponse,
  problemBody,
  readinessResponse,
  recipeChangedResponse,
  recipeDeletedResponse,
  recipeListResponse,
  recipeResponse,
  reviewResponse,
  rollbackResponse,
  sampleDeletedResponse,
  sampleMetaResponse,
  stateResponse,
  uploadResponse,
} from './responses.ts';
import {
  calibrateDatasetRequest,
  calibrateNgRequest,
  datasetLabelQuery,
  datasetQuery,
  fitOkForm,
  inferDatasetRequest,
  inferForm,
  jobsQuery,
  modelQuery,
  recipeChange,
  recipeRemoval,
  reviewRequest,
  rollbackRequest,
  sampleQuery,
  thumbnailQuery,
  uploadForm,
} from './schemas.ts';

type Json = Readonly<Record<string, unknown>>;

const binary = { type: 'string', contentMediaType: 'application/octet-stream' } as const;

const pictureFormats = 'PNG, JPEG, BMP, TIFF or WebP; gray, RGB or RGBA (alpha is dropped); 8 or 16 bit';

/**
 * The OpenAPI 3.1 description of this service. Bodies come from the schemas that check them, so the document cannot
 * promise what the code does not do.
 */
export function openApiDocument(version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'okng',
      version,
      description:
        'Tells good parts from bad ones after seeing only good ones. Fit a memory from good pictures, calibrate a threshold from scores, inspect pictures.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    // Either, where the service has keys; a few paths are open to all.
    security: [{}, { bearer: [] }, { header: [] }],
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'One of BDI_API_KEYS, where the service has any.' },
        header: {
          type: 'apiKey',
          in: 'header',
          name: 'X-API-Key',
          description: 'The same, for clients that have Authorization for something else.',
        },
      },
    },
    paths: {
      '/health': {
        get: openOperation('Is the service up, on what device and with which extractor', healthResponse, [
          'invalid_value',
        ]),
      },
      '/livez': { get: openOperation('Is the process alive', aliveResponse, []) },
      '/readyz': {
        get: openOperation(
          'Is the extractor loaded; problems also tells what does not keep it from inspecting, such as a disk too full to store more',
          readinessResponse,
          [],
          {
            503: {
              description: 'Not ready; problems tells why.',
              content: { 'application/json': { schema: outputSchema(readinessResponse) } },
            },
          },
        ),
      },
      '/fit_ok': {
        post: {
          ...longOperation('Fit the memory of one role and ROI from good pictures', fitOkResponse, [
            'no_images',
            'insufficient_ok_samples',
            'invalid_shape',
            'empty_mask',
            'unreadable_image',
            'unsupported_media_type',
            'image_too_large',
            'missing_field',
            'mm_per_px_conflict',
            'fit_in_progress',
            'queue_full',
            'storage_full',
          ]),
          requestBody: formBody(
            fitOkForm,
            {
              images: {
                type: 'array',
                items: binary,
                minItems: 1,
                description: `Good pictures of the part, one file each: ${pictureFormats}. Required unless use_dataset.`,
              },
            },
            [],
          ),
        },
      },
      '/calibrate_ng': {
        post: {
          ...operation('Choose a threshold from scores of good and bad parts', calibrateNgResponse, [
            'invalid_json',
            'invalid_value',
            'missing_field',
            'mm_per_px_conflict',
            'storage_full',
          ]),
          requestBody: jsonBody(calibrateNgRequest),
        },
      },
      '/infer': {
        post: {
          ...operation('Inspect a picture, or several by one model', z.union([inferResponse, z.array(inferResponse)]), [
            'memory_not_fitted',
            'invalid_shape',
            'empty_mask',
            'unreadable_image',
            'unsupported_media_type',
            'image_too_large',
            'missing_field',
            'mm_per_px_conflict',
            'extractor_mismatch',
            'too_many_parts',
            'queue_full',
            'deadline_missed',
          ]),
          parameters: [...commonHeaders, deadlineHeader],
          requestBody: formBody(
            inferForm,
            {
              image: {
                ...binary,
                description: `The picture to inspect, one file: ${pictureFormats}. Up to ${mostPictures} files of this name are answered by a list, in their order, or refused as a whole.`,
              },
            },
            ['image'],
          ),
        },
      },
      '/models': {
        get: operation('All models on disk; the first time each memory is read', modelListResponse, ['invalid_value']),
      },
      '/models/{role_id}/{roi_id}/generations': {
        get: withParameters(
          operation('The memories that a model has had, as far as they are kept', generationListResponse, [
            'invalid_value',
          ]),
          ...modelInPath,
        ),
      },
      '/models/{role_id}/{roi_id}/rollback': {
        post: {
          ...operation('Let an earlier memory answer again, with its own calibration', rollbackResponse, [
            'invalid_json',
            'invalid_value',
            'not_found',
            'extractor_mismatch',
            'damaged_file',
            'not_ready',
          ]),
          parameters: [...commonHeaders, ...pathParameters('role_id', 'roi_id')],
          requestBody: jsonBody(rollbackRequest),
        },
      },
      '/models/{role_id}/{roi_id}/health': {
        get: withParameters(
          operation('Is the model fitted and calibrated, and do its scores still look the same', modelHealthResponse, [
            'invalid_value',
            'damaged_file',
          ]),
          ...modelInPath,
        ),
      },
      '/state': {
        get: withParameters(
          operation('Is there a memory and a calibration that /infer would use', stateResponse, modelCodes),
          ...queryParameters(modelQuery),
        ),
      },
      '/manifest': {
        get: withParameters(
          operation('The state of a model, its calibration and its dataset', manifestResponse, modelCodes),
          ...queryParameters(modelQuery),
        ),
      },
      ...Object.fromEntries(
        sampleLabels.map((label) => [`/datasets/${label}/upload`, { post: uploadOperation(label) }]),
      ),
      '/datasets/list': {
        get: withParameters(
          operation('The stored samples of a role and ROI, and which of them are duplicates', datasetListResponse, [
            'invalid_value',
            'missing_field',
          ]),
          ...queryParameters(datasetQuery),
        ),
      },
      '/datasets/file': {
        get: withParameters(
          pictureOperation('A stored picture, as it was sent', ['invalid_value', 'not_found', 'missing_field']),
          ...queryParameters(sampleQuery),
        ),
        delete: withParameters(
          operation('Remove a sample for good', sampleDeletedResponse, ['invalid_value', 'missing_field']),
          ...queryParameters(sampleQuery),
        ),
      },
      '/datasets/meta': {
        get: withParameters(
          operation('What is known of a stored picture', sampleMetaResponse, [
            'invalid_value',
            'not_found',
            'missing_field',
            'damaged_file',
          ]),
          ...queryParameters(sampleQuery),
        ),
      },
      '/datasets/thumbnail': {
        get: withParameters(
          pictureOperation('A stored picture, small, as JPEG', ['invalid_value', 'not_found', 'missing_field']),
          ...queryParameters(thumbnailQuery),
        ),
      },
      '/datasets/clear': {
        delete: withParameters(
          operation('Remove every sample of a class for good', datasetClearedResponse, [
            'invalid_value',
            'missing_field',
          ]),
          ...queryParameters(datasetLabelQuery),
        ),
      },
      '/datasets/review': {
        post: {
          ...operation('Which stored OK samples look bad to the others', reviewResponse, [
            'insufficient_ok_samples',
            'missing_field',
            'queue_full',
          ]),
          requestBody: jsonBody(reviewRequest),
        },
      },
      '/calibrate_dataset': {
        post: {
          ...longOperation('Score the stored samples and choose a threshold from them', calibrateDatasetResponse, [
            'memory_not_fitted',
            'insufficient_ok_samples',
            'insufficient_ng_samples',
            'invalid_json',
            'invalid_value',
            'missing_field',
            'extractor_mismatch',
            'queue_full',
            'not_ready',
            'storage_full',
          ]),
          requestBody: jsonBody(calibrateDatasetRequest),
        },
      },
      '/infer_dataset': {
        post: {
          ...longOperation('Inspect the stored samples', inferDatasetResponse, [
            'memory_not_fitted',
            'invalid_json',
            'invalid_value',
            'missing_field',
            'extractor_mismatch',
            'queue_full',
            'not_ready',
          ]),
          requestBody: jsonBody(inferDatasetRequest),
        },
      },
      '/recipes': { get: operation('The recipes and what they hold', recipeListResponse, ['invalid_value']) },
      '/recipes/{id}': {
        get: withParameters(
          operation('One recipe and what it holds', recipeResponse, ['invalid_value', 'not_found']),
          ...pathParameters('id'),
        ),
        put: {
          ...operation("Correct a recipe's millimetres per pixel, on purpose", recipeChangedResponse, [
            'invalid_json',
            'invalid_value',
            'missing_field',
            'storage_full',
          ]),
          parameters: [...commonHeaders, ...pathParameters('id')],
          requestBody: jsonBody(recipeChange),
        },
        delete: withParameters(
          operation('Remove a recipe for good; the default one stays', recipeDeletedResponse, [
            'invalid_value',
            'not_found',
            'recipe_in_use',
            'fit_in_progress',
          ]),
          ...pathParameters('id'),
          ...queryParameters(recipeRemoval),
        ),
      },
      '/jobs': {
        get: withParameters(
          operation('The jobs there are, the newest first', jobListResponse, ['invalid_value']),
          ...queryParameters(jobsQuery),
        ),
      },
      '/jobs/{id}': {
        get: withParameters(
          operation('What a job does, or has come to', jobWithResult, ['not_found', 'damaged_file']),
          ...pathParameters('id'),
        ),
        delete: withParameters(
          operation(
            'Cancel a job; answers when it has ended, after one picture or so. Cancelling it again is no error.',
            jobWithResult,
            ['not_found', 'job_ended'],
          ),
          ...pathParameters('id'),
        ),
      },
      '/jobs/{id}/events': {
        get: {
          ...operation('Follow a job', jobResponse, ['not_found']),
          parameters: [
            ...commonHeaders,
            ...pathParameters('id'),
            {
              name: 'Last-Event-ID',
              in: 'header',
              schema: { type: 'string' },
              description: 'The id of the last event that was read; an EventSource sends it when it comes back.',
            },
          ],
          responses: {
            200: {
              description:
                'Server-sent events: progress whenever the job has changed, at most five a second, and end when it has ended; then the stream ends. The data of each is the job without its result.',
              content: { 'text/event-stream': { schema: { type: 'string' } } },
            },
            204: { description: 'The job has ended, and the end was read: there is nothing to come back for.' },
            ...problemsOf(['not_found', ...callerCodes]),
          },
        },
      },
    },
  };
}

const commonHeaders = [
  {
    name: 'X-Request-Id',
    in: 'header',
    schema: { type: 'string' },
    description:
      'Echoed in the header and the body, its first 200 characters as they came; a UUID is made when it is absent.',
  },
  {
    name: 'X-Recipe-Id',
    in: 'header',
    schema: { type: 'string' },
    description: 'The recipe, where neither body nor query names one.',
  },
] as const;

const modelCodes = ['invalid_value', 'missing_field', 'damaged_file'] as const satisfies readonly ErrorCode[];

function uploadOperation(label: string): Json {
  return {
    ...operation(`Store pictures of ${label === 'ok' ? 'good' : 'bad'} parts as samples, all or none`, uploadResponse, [
      'invalid_value',
      'invalid_json',
      'unreadable_image',
      'unsupported_media_type',
      'image_too_large',
      'missing_field',
      'mm_per_px_conflict',
      'queue_full',
      'storage_full',
    ]),
    requestBody: formBody(
      uploadForm,
      {
        images: {
          type: 'array',
          items: binary,
          minItems: 1,
          description: `One file each, kept as it is: ${pictureFormats}.`,
        },
        metas: {
          type: 'array',
          items: { type: 'string', contentMediaType: 'application/json' },
          description:
            'None, or one JSON object for each of the images, in their order: as many fields, or one with the list of all. shape (or shape_json) is the ROI of the sample, as in /infer; mm_per_px counts for the recipe; everything else is kept as it is.',
        },
      },
      ['images'],
    ),
  };
}

function pictureOperation(summary: string, codes: readonly ErrorCode[]): Json {
  return {
    summary,
    parameters: commonHeaders,
    responses: {
      200: { description: 'Done.', content: { 'image/*': { schema: binary } } },
      ...problemsOf([...codes, ...callerCodes]),
    },
  };
}

/** An operation with parameters beside those that all have. */
function withParameters(of: Json, ...parameters: readonly Json[]): Json {
  return { ...of, parameters: [...commonHeaders, ...parameters] };
}

function queryParameters(schema: z.ZodType): readonly Json[] {
  const { properties = {}, required = [] } = inputSchema(schema) as { properties?: Json; required?: readonly string[] };
  return Object.entries(properties).map(([name, of]) => ({
    name,
    in: 'query',
    ...(required.includes(name) && { required: true }),
    schema: of,
  }));
}

function pathParameters(...names: readonly string[]): readonly Json[] {
  return names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } }));
}

/** A model named by the path; its recipe and key may be named in the query. */
const modelInPath = [
  ...pathParameters('role_id', 'roi_id'),
  ...['recipe_id', 'model_key'].map((name) => ({ name, in: 'query', schema: { type: 'string' } })),
];

function jsonBody(schema: z.ZodType): Json {
  return { required: true, content: { 'application/json': { schema: inputSchema(schema) } } };
}

const deadlineHeader = {
  name: 'X-Deadline-Ms',
  in: 'header',
  schema: { type: 'integer', minimum: 1, maximum: longestDeadlineMs },
  description:
    'Milliseconds, from when the headers have come, after which the answer is of no use. What cannot be answered by then is refused (503, deadline_missed): at once where those ahead leave too little time, else at the deadline.',
} as const;

const longWorkHeaders = [
  {
    name: 'Prefer',
    in: 'header',
    schema: { type: 'string' },
    description: 'respond-async (RFC 7240): answer 202 with a job at once, and do the work when its turn has come.',
    example: 'respond-async',
  },
  {
    name: 'Idempotency-Key',
    in: 'header',
    schema: { type: 'string', maxLength: 255 },
    description:
      'A text that no other request brings, such as a UUID. The same request with the same key gets the same job, as long as that is kept, or the same answer, for a day (the last hundred, unless they are very large), and the work is done once. What failed is tried anew, unless it was a job.',
  },
] as const;

/** Work that may take minutes: its result, or a job. */
function longOperation(summary: string, response: z.ZodType, codes: readonly ErrorCode[]): Json {
  return {
    ...operation(summary, response, [...codes, 'request_in_progress', 'idempotency_key_reused'], {
      202: {
        description: 'The work has become a job, on request; Location is its address.',
        headers: { Location: { schema: { type: 'string' } }, 'Preference-Applied': { schema: { type: 'string' } } },
        content: { 'application/json': { schema: outputSchema(jobResponse) } },
      },
    }),
    parameters: [...commonHeaders, ...longWorkHeaders],
  };
}

/** How callers are turned away. */
const callerCodes = ['unauthorized', 'foreign_origin'] as const satisfies readonly ErrorCode[];

function operation(summary: string, response: z.ZodType, codes: readonly ErrorCode[], otherResponses: Json = {}): Json {
  const { security: _, ...guarded } = openOperation(summary, response, [...codes, ...callerCodes], otherResponses);
  return guarded;
}

/** One that answers whoever asks. */
function openOperation(
  summary: string,
  response: z.ZodType,
  codes: readonly ErrorCode[],
  otherResponses: Json = {},
): { readonly security: readonly [] } & Json {
  return {
    summary,
    security: [],
    parameters: commonHeaders,
    responses: {
      200: { description: 'Done.', content: { 'application/json': { schema: outputSchema(response) } } },
      ...otherResponses,
      ...problemsOf(codes),
    },
  };
}

function problemsOf(codes: readonly ErrorCode[]): Json {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) byStatus.set(statusOf[code], [...(byStatus.get(statusOf[code]) ?? []), code]);
  const problems = [...byStatus].map(([status, names]) => [
    String(status),
    {
      description: `Refused: ${names.join(', ')}.`,
      content: { 'application/problem+json': { schema: outputSchema(problemBody) } },
    },
  ]);
  return Object.fromEntries(problems);
}

function formBody(schema: z.ZodType, files: Json, requiredFiles: readonly string[]): Json {
  const fields = inputSchema(schema) as { properties?: Json; required?: readonly string[] };
  return {
    required: true,
    content: {
      'multipart/form-data': {
        schema: {
          type: 'object',
          properties: { ...fields.properties, ...files },
          required: [...(fields.required ?? []), ...requiredFiles],
        },
      },
    },
  };
}

function inputSchema(schema: z.ZodType): Json {
  return withoutDialect(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
}

function outputSchema(schema: z.ZodType): Json {
  return withoutDialect(z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' }));
}

function withoutDialect({ $schema: _, ...schema }: Json & { readonly $schema?: unknown }): Json {
  return schema;
}
