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
  /** Every value of the list fields, in the order they came; absent where none were asked for. */
  readonly list?: readonly string[];
}

export interface FormLimits {
  readonly maxBodyBytes: number;
  /** Text fields that somebody reads: a longer text in one of them is refused. Absent: every field. */
  readonly textFields?: readonly string[];
  /** Names of one text field that may come again and again, as many times as there may be files. */
  readonly listFields?: readonly string[];
}

/** Text parts are ids, numbers and shapes: a megabyte is far more than any of them needs. */
const maxFieldBytes = 1024 * 1024;
const maxFields = 200;
const maxFiles = 2000;
/** Of a part and of a file; what a file system allows for a whole path is less. */
const maxNameCharacters = { part: 200, file: 1000 } as const;

/** Fields whose parts are pictures. Every other part is text, also where the client gave it a file name. */
const pictureFields: ReadonlySet<string> = new Set(['image', 'images', 'images[]']);

/**
 * Reads a multipart form as browsers, curl and .NET's HttpClient write it: quoted or bare boundary and part names, a
 * Content-Type on every text part, `filename*`. What a part is depends on its field, not on its file name or type: a
 * browser sends a `Blob` of JSON with `filename="blob"`. Only a picture with neither a file name nor the type
 * application/octet-stream comes out as text. A part without a name is ignored.
 *
 * Memory: the whole body is held, at most `maxBodyBytes`.
 *
 * @throws InspectionError `unsupported_media_type` when the body is no multipart form, `invalid_multipart` when it is
 *   cut short or malformed or has names too long, `body_too_large`, `too_many_parts`
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
  const maxTexts = maxFields + (limits.listFields === undefined ? 0 : maxFiles);
  const parser = openParser(contentType, maxTexts);
  const source = body === null ? Readable.from([]) : body instanceof Readable ? body : Readable.fromWeb(body);

  return await new Promise<Form>((resolve, reject) => {
    const fields = new Map<string, string>();
    const files: UploadedFile[] = [];
    const list: string[] = [];
    let received = 0;
    let textsWithFileName = 0;
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
    // busboy 1.6 takes a file that begins behind the closing boundary for one that goes on, and waits for its end for ever.
    const openFiles = new Set<Readable>();
    const refuseOpenEnd = () => {
      if (settled || openFiles.size === 0) return;
      const isBusy = parser.writableLength > 0 || [...openFiles].some(({ readableLength }) => readableLength > 0);
      if (isBusy) setImmediate(refuseOpenEnd);
      else fail(cutShort(new Error('The body ends inside a file.')));
    };
    source.on('end', () => setImmediate(refuseOpenEnd));
    const tooMany = (what: string, limit: number) => () =>
      fail(new InspectionError('too_many_parts', `The form has more than ${limit} ${what}.`));
    const tooManyFields = tooMany('text fields', maxTexts);
    /** Keeps a text's place among the others: one with a file name is complete only after the next has begun. */
    const placeFor = (field: string): ((text: string) => void) => {
      if (limits.listFields?.includes(field) !== true) return (text) => fields.set(field, text);
      const place = list.push('') - 1;
      return (text) => {
        list[place] = text;
      };
    };
    /** Parts without a name are nobody's. */
    const isNamed = (field: string | undefined, fileName = ''): field is string => {
      if (field === undefined) return false;
      const tooLong =
        field.length > maxNameCharacters.part ? 'part' : fileName.length > maxNameCharacters.file && 'file';
      if (tooLong === false) return true;
      const limit = maxNameCharacters[tooLong];
      fail(
        new InspectionError('invalid_multipart', `The form has a ${tooLong} whose name exceeds ${limit} characters.`),
      );
      return false;
    };
    const tooLong = (field: string) =>
      fail(
        new InspectionError(
          'invalid_multipart',
          `The text field ${JSON.stringify(field.slice(0, 100))} is longer than ${maxFieldBytes} bytes.`,
        ),
      );
    // The parser's types promise a name; it gives none where the part has none.
    parser.on('field', (field: string | undefined, value, info) => {
      if (!isNamed(field)) return;
      if (info.valueTruncated) tooLong(field);
      else placeFor(field)(value);
    });
    parser.on('file', (field: string | undefined, stream, info) => {
      openFiles.add(stream);
      stream.on('end', () => openFiles.delete(stream));
      stream.on('error', (cause) => fail(cutShort(cause)));
      if (!isNamed(field, info.filename)) {
        stream.resume();
        return;
      }
      const isPicture = pictureFields.has(field);
      const chunks: Uint8Array[] = [];
      let size = 0;
      stream.on('data', (chunk: Uint8Array) => {
        size += chunk.byteLength;
        if (isPicture || size <= maxFieldBytes) chunks.push(chunk);
      });
      if (isPicture) {
        stream.on('end', () => files.push({ field, name: info.filename ?? '', bytes: joinChunks(chunks) }));
        return;
      }
      textsWithFileName++;
      if (textsWithFileName > maxTexts) tooManyFields();
      const put = placeFor(field);
      stream.on('end', () => {
        if (size <= maxFieldBytes) put(new TextDecoder().decode(joinChunks(chunks)));
        // Somebody else's attachment of any size is an unknown field, and those are ignored.
        else if (limits.textFields?.includes(field) !== false || limits.listFields?.includes(field) === true)
          tooLong(field);
      });
    });
    parser.on('fieldsLimit', tooManyFields);
    parser.on('filesLimit', tooMany('files', maxFiles));
    parser.on('partsLimit', tooMany('parts', maxTexts + maxFiles));
    parser.on('error', (cause) => fail(cutShort(cause)));
    parser.on('close', () => {
      if (settled) return;
      settled = true;
      resolve({ fields, files, ...(limits.listFields !== undefined && { list }) });
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

function openParser(contentType: string, maxTexts: number): busboy.Busboy {
  try {
    return busboy({
      headers: { 'content-type': contentType },
      defParamCharset: 'utf8',
      // It bounds the header of a part at 16 KiB by itself, and tells of the last part that may be, not of one too many.
      limits: { fieldSize: maxFieldBytes, fields: maxTexts, files: maxFiles, parts: maxTexts + maxFiles + 1 },
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
