import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import busboy from 'busboy';
import { InspectionError } from '../errors.ts';

/** One uploaded file. The array is its own (not a window on a shared buffer), so it may be transferred to a worker. */
export interface UploadedFile {
  readonly field: string;
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A parsed form: the last value of every text field, and the files in their order. */
export interface Form {
  readonly fields: ReadonlyMap<string, string>;
  readonly files: readonly UploadedFile[];
}

export interface FormLimits {
  readonly maxBodyBytes: number;
}

/** Text parts are ids, numbers and shapes: a megabyte is far more than any of them needs. */
const maxFieldBytes = 1024 * 1024;
const maxFields = 200;
const maxFiles = 2000;

/**
 * Reads a multipart form as browsers, curl and .NET's HttpClient write it: quoted or bare boundary and part names, a
 * Content-Type on every text part, `filename*`. A part without a file name is text, whatever its type.
 *
 * Memory: the whole body is held, at most `maxBodyBytes`.
 *
 * @throws InspectionError `unsupported_media_type` when the body is no multipart form, `invalid_multipart` when it is
 *   cut short or malformed, `body_too_large`, `too_many_parts`
 */
export async function readForm(
  contentType: string | undefined,
  body: ReadableStream<Uint8Array> | Readable | null,
  limits: FormLimits,
): Promise<Form> {
  if (contentType === undefined || !/^\s*multipart\/form-data\s*(;|$)/i.test(contentType)) {
    const got = contentType === undefined ? 'none' : contentType.slice(0, 100);
    throw new InspectionError(
      'unsupported_media_type',
      `This endpoint reads multipart/form-data; the request's Content-Type is ${got}.`,
    );
  }
  const parser = openParser(contentType);
  const source = body === null ? Readable.from([]) : body instanceof Readable ? body : Readable.fromWeb(body);

  return await new Promise<Form>((resolve, reject) => {
    const fields = new Map<string, string>();
    const files: UploadedFile[] = [];
    let received = 0;
    let settled = false;

    const fail = (error: InspectionError) => {
      if (settled) return;
      settled = true;
      source.unpipe(parser);
      // The rest of the body is read and dropped, so that the client gets to see the answer.
      source.resume();
      reject(error);
    };

    source.on('data', (chunk: Uint8Array) => {
      received += chunk.byteLength;
      if (received > limits.maxBodyBytes) fail(bodyTooLarge(limits.maxBodyBytes));
    });
    source.on('error', (cause) => fail(cutShort(cause)));
    parser.on('field', (field, value, info) => {
      if (info.nameTruncated || info.valueTruncated) {
        fail(
          new InspectionError(
            'invalid_multipart',
            `The text field ${JSON.stringify(field.slice(0, 100))} is longer than ${maxFieldBytes} bytes.`,
          ),
        );
        return;
      }
      fields.set(field, value);
    });
    parser.on('file', (field, stream, info) => {
      const chunks: Uint8Array[] = [];
      stream.on('data', (chunk: Uint8Array) => chunks.push(chunk));
      stream.on('error', (cause) => fail(cutShort(cause)));
      stream.on('end', () => {
        const bytes = joinChunks(chunks);
        // The parser takes application/octet-stream without a file name for a file; only pictures are meant so.
        const isText = info.filename === undefined && !field.startsWith('image');
        if (isText) fields.set(field, new TextDecoder().decode(bytes));
        else files.push({ field, name: info.filename ?? '', bytes });
      });
    });
    const tooMany = (what: string, limit: number) => () =>
      fail(new InspectionError('too_many_parts', `The form has more than ${limit} ${what}.`));
    parser.on('fieldsLimit', tooMany('text fields', maxFields));
    parser.on('filesLimit', tooMany('files', maxFiles));
    parser.on('error', (cause) => fail(cutShort(cause)));
    parser.on('close', () => {
      if (settled) return;
      settled = true;
      resolve({ fields, files });
    });
    source.pipe(parser);
  });
}

/** The sentence of 413, for every way a body can turn out too large. */
export function bodyTooLarge(maxBodyBytes: number): InspectionError {
  return new InspectionError(
    'body_too_large',
    `The request body is larger than ${maxBodyBytes / (1024 * 1024)} MiB; send fewer or smaller pictures, or raise BDI_MAX_BODY_MIB.`,
  );
}

function openParser(contentType: string): busboy.Busboy {
  try {
    return busboy({
      headers: { 'content-type': contentType },
      defParamCharset: 'utf8',
      limits: { fieldSize: maxFieldBytes, fieldNameSize: 200, fields: maxFields, files: maxFiles, headerPairs: 50 },
    });
  } catch (cause) {
    throw new InspectionError('invalid_multipart', 'The Content-Type multipart/form-data has no usable boundary.', {
      cause,
    });
  }
}

function cutShort(cause: unknown): InspectionError {
  return new InspectionError('invalid_multipart', 'The multipart body is malformed or was cut short.', { cause });
}

function joinChunks(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}
