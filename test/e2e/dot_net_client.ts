import { randomUUID } from 'node:crypto';
import { Agent, type IncomingMessage, request } from 'node:http';

/**
 * A client that puts on the wire what .NET's HttpClient does: a quoted boundary, part names without quotes, Content-Type
 * before Content-Disposition and on every part, `filename=x.png; filename*=utf-8''x.png`, JSON parts without a file name,
 * numbers such as 1E-05, connections that are kept.
 */
export interface DotNetClient {
  send(method: string, path: string, content?: DotNetContent): Promise<DotNetAnswer>;
  close(): void;
}

export interface DotNetContent {
  readonly type: string;
  readonly bytes: Buffer;
}

export interface DotNetAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly bytes: Buffer;
  /** The body as JSON; throws for another. */
  json<T = Record<string, unknown>>(): T;
}

/** @param headers go with every request, as `DefaultRequestHeaders` do */
export function dotNetClient(url: string, headers: Readonly<Record<string, string>>): DotNetClient {
  const agent = new Agent({ keepAlive: true });
  return {
    send: (method, path, content) =>
      new Promise((resolve, reject) => {
        const sent = request(new URL(path, url), {
          method,
          agent,
          headers: { ...headers, ...contentHeaders(content) },
        });
        sent.on('error', reject);
        sent.on('response', (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const bytes = Buffer.concat(chunks);
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              bytes,
              json: () => JSON.parse(bytes.toString('utf8')),
            });
          });
        });
        sent.end(content?.bytes);
      }),
    close: () => agent.destroy(),
  };
}

function contentHeaders(content: DotNetContent | undefined): Record<string, string> {
  return content === undefined ? {} : { 'Content-Type': content.type, 'Content-Length': String(content.bytes.length) };
}

/** One part of a form. */
export interface DotNetPart {
  readonly name: string;
  readonly type: string;
  readonly fileName?: string;
  readonly bytes: Buffer;
}

export const textPart = (name: string, text: string): DotNetPart => ({
  name,
  type: 'text/plain; charset=utf-8',
  bytes: Buffer.from(text),
});

/** `new StringContent(json, Encoding.UTF8, "application/json")` */
export const jsonPart = (name: string, json: string): DotNetPart => ({
  name,
  type: 'application/json; charset=utf-8',
  bytes: Buffer.from(json),
});

export const filePart = (name: string, fileName: string, bytes: Uint8Array): DotNetPart => ({
  name,
  type: 'image/png',
  fileName,
  bytes: Buffer.from(bytes),
});

/** As `MultipartFormDataContent` writes it. */
export function formContent(parts: readonly DotNetPart[]): DotNetContent {
  const boundary = randomUUID();
  const pieces: Buffer[] = [];
  for (const [i, { name, type, fileName, bytes }] of parts.entries()) {
    const file =
      fileName === undefined ? '' : `; filename=${fileName}; filename*=utf-8''${encodeURIComponent(fileName)}`;
    const head = [
      `${i === 0 ? '' : '\r\n'}--${boundary}`,
      `Content-Type: ${type}`,
      `Content-Disposition: form-data; name=${name}${file}`,
      '',
      '',
    ];
    pieces.push(Buffer.from(head.join('\r\n')), bytes);
  }
  pieces.push(Buffer.from(`\r\n--${boundary}--\r\n`));
  return { type: `multipart/form-data; boundary="${boundary}"`, bytes: Buffer.concat(pieces) };
}

export const jsonContent = (json: string): DotNetContent => ({
  type: 'application/json; charset=utf-8',
  bytes: Buffer.from(json),
});
