import { z } from 'zod';
import type { ErrorCode } from '../errors.ts';
import { statusOf } from './problem.ts';
import {
  calibrateNgResponse,
  fitOkResponse,
  healthResponse,
  inferResponse,
  modelHealthResponse,
  problemBody,
} from './responses.ts';
import { calibrateNgRequest, fitOkForm, inferForm } from './schemas.ts';

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
    paths: {
      '/health': {
        get: operation('Is the service up, on what device and with which extractor', healthResponse, ['invalid_value']),
      },
      '/livez': { get: operation('Is the process alive', probe, []) },
      '/readyz': {
        get: operation('Is the extractor loaded and the store readable', readiness, [], {
          503: {
            description: 'Not ready; problems tells why.',
            content: { 'application/json': { schema: outputSchema(readiness) } },
          },
        }),
      },
      '/fit_ok': {
        post: {
          ...operation('Fit the memory of one role and ROI from good pictures', fitOkResponse, [
            'no_images',
            'unreadable_image',
            'unsupported_media_type',
            'image_too_large',
            'missing_field',
            'mm_per_px_conflict',
            'fit_in_progress',
            'queue_full',
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
          ]),
          requestBody: { required: true, content: { 'application/json': { schema: inputSchema(calibrateNgRequest) } } },
        },
      },
      '/infer': {
        post: {
          ...operation('Inspect one picture', inferResponse, [
            'memory_not_fitted',
            'invalid_shape',
            'empty_mask',
            'unreadable_image',
            'unsupported_media_type',
            'image_too_large',
            'missing_field',
            'mm_per_px_conflict',
            'extractor_mismatch',
            'queue_full',
          ]),
          requestBody: formBody(
            inferForm,
            { image: { ...binary, description: `The picture to inspect, one file: ${pictureFormats}.` } },
            ['image'],
          ),
        },
      },
      '/models/{role_id}/{roi_id}/health': {
        get: {
          ...operation(
            'Is the model fitted and calibrated, and do its scores still look the same',
            modelHealthResponse,
            ['invalid_value', 'damaged_file'],
          ),
          parameters: [
            ...commonHeaders,
            ...['role_id', 'roi_id'].map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
            ...['recipe_id', 'model_key'].map((name) => ({ name, in: 'query', schema: { type: 'string' } })),
          ],
        },
      },
    },
  };
}

const probe = z.object({ status: z.string(), request_id: z.string(), recipe_id: z.string() });
const readiness = probe.extend({ problems: z.array(z.string()) });

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

function operation(summary: string, response: z.ZodType, codes: readonly ErrorCode[], otherResponses: Json = {}): Json {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) byStatus.set(statusOf[code], [...(byStatus.get(statusOf[code]) ?? []), code]);
  const problems = [...byStatus].map(([status, names]) => [
    String(status),
    {
      description: `Refused: ${names.join(', ')}.`,
      content: { 'application/problem+json': { schema: outputSchema(problemBody) } },
    },
  ]);
  return {
    summary,
    parameters: commonHeaders,
    responses: {
      200: { description: 'Done.', content: { 'application/json': { schema: outputSchema(response) } } },
      ...otherResponses,
      ...Object.fromEntries(problems),
    },
  };
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
