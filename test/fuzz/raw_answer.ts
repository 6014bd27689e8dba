import { connect } from 'node:net';

/** What came back over a connection of its own. */
export interface RawAnswer {
  /** 0 where no whole answer came before the connection ended. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly ms: number;
}

/**
 * Sends bytes as they are and reads one answer.
 *
 * @param hangUpMs after this time without an answer the sending half is closed, so that a server which waits for more sees
 *   that nothing comes; null: never
 * @throws Error when neither an answer nor the end of the connection comes within `patienceMs`
 */
export async function exchange(
  port: number,
  bytes: Buffer,
  {
    isHead,
    hangUpMs,
    patienceMs,
  }: { readonly isHead: boolean; readonly hangUpMs: number | null; readonly patienceMs: number },
): Promise<RawAnswer> {
  const started = performance.now();
  let resolve: (answer: RawAnswer) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const answered = new Promise<RawAnswer>((onAnswer, onError) => {
    resolve = onAnswer;
    reject = onError;
  });
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const timeout = setTimeout(() => {
    socket.destroy();
    reject(new Error(`no answer within ${patienceMs / 1000} s`));
  }, patienceMs);
  const hangUp = hangUpMs === null ? undefined : setTimeout(() => socket.end(), hangUpMs);
  let received = Buffer.alloc(0);
  const end = (answer: Omit<RawAnswer, 'ms'> | null) => {
    clearTimeout(timeout);
    clearTimeout(hangUp);
    socket.destroy();
    resolve({ ...(answer ?? { status: 0, headers: {}, body: Buffer.alloc(0) }), ms: performance.now() - started });
  };
  socket.on('data', (piece) => {
    received = Buffer.concat([received, piece]);
    const answer = answerIn(received, isHead, false);
    if (answer !== null) end(answer);
  });
  socket.on('end', () => end(answerIn(received, isHead, true)));
  // A server that refuses what is still being sent may reset the connection behind its answer.
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED') {
      clearTimeout(timeout);
      reject(error);
    } else end(answerIn(received, isHead, true));
  });
  socket.write(bytes);
  return await answered;
}

function answerIn(bytes: Buffer, isHead: boolean, hasEnded: boolean): Omit<RawAnswer, 'ms'> | null {
  const split = bytes.indexOf('\r\n\r\n');
  if (split < 0) return null;
  const [first = '', ...lines] = bytes.subarray(0, split).toString('latin1').split('\r\n');
  const status = Number(first.split(' ')[1]);
  const rest = bytes.subarray(split + 4);
  if (status >= 100 && status < 200) return answerIn(rest, isHead, hasEnded);
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  if (isHead || status === 204 || status === 304) return { status, headers, body: Buffer.alloc(0) };
  if (headers['transfer-encoding'] === 'chunked') {
    const body = unchunked(rest);
    return body === null ? null : { status, headers, body };
  }
  const length = Number(headers['content-length'] ?? Number.NaN);
  if (rest.length >= length) return { status, headers, body: rest.subarray(0, length) };
  return hasEnded && Number.isNaN(length) ? { status, headers, body: rest } : null;
}

/** Null before the last chunk. */
function unchunked(bytes: Buffer): Buffer | null {
  const pieces: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return null;
    const length = Number.parseInt(bytes.subarray(at, line).toString('latin1'), 16);
    if (length === 0) return Buffer.concat(pieces);
    if (bytes.length < line + 2 + length + 2) return null;
    pieces.push(bytes.subarray(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
  }
}
