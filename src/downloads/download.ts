import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { InspectionError } from '../errors.ts';
import { Interruption, networkFailure, type Peer, RangeUnusable, stalled, statusFailure, webPage } from './failures.ts';
import { type Answer, get, type Network, type Published, withoutLogin } from './http_get.ts';
import { type Origin, openPartialFile, type PartialFile } from './partial_file.ts';
import type { Proxies } from './proxies.ts';

/** Enough to tell a web page from a file. */
const HEAD_BYTES = 512;
/** A line that brings this much between two cuts is worth any number of tries. */
const PROGRESS_BYTES = 1024 * 1024;

/** What to download, and where to. */
export interface Download {
  /** http or https; a name and password inside it are sent to its own origin only and are not written down. */
  readonly url: string;
  /** Path of the file to be; its folder is made where it is missing. */
  readonly target: string;
  /** Lower-case hex of the only content that is accepted. */
  readonly expectedSha256?: string;
  /** Refuse a web page (the login of a proxy or guest network) instead of taking it for the file. */
  readonly refuseHtml?: boolean;
  readonly proxies?: Proxies;
  readonly signal?: AbortSignal;
  /** After every piece written, some tens of kB: bytes of the file that are there, and of the whole file if known. */
  readonly onProgress?: (doneBytes: number, totalBytes: number | null) => void;
  readonly timing?: Partial<DownloadTiming>;
}

/** The waits of a download. */
export interface DownloadTiming {
  /** Longest wait for a connection. */
  readonly connectMs: number;
  /** Longest silence, before the answer and inside it. */
  readonly stallMs: number;
  /** Tries in a row that may fail without bringing a MiB, the first included. */
  readonly tries: number;
  /** Wait after the first failure; doubles with each further one. */
  readonly pauseMs: number;
  /** No pause is longer; a server that asks for more is not waited for. */
  readonly longestPauseMs: number;
  /** Waits; rejects when the signal is raised. */
  readonly wait: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  /** Ms since 1970, for dates in `Retry-After`. */
  readonly now: () => number;
}

const defaultTiming: DownloadTiming = {
  connectMs: 15_000,
  stallMs: 60_000,
  tries: 5,
  pauseMs: 1000,
  longestPauseMs: 120_000,
  wait: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
  now: Date.now,
};

/** What lies under the target's name now. */
export interface Downloaded {
  readonly bytes: number;
  /** Lower-case hex, of the bytes on the disk. */
  readonly sha256: string;
  /** Bytes that an earlier, interrupted download had left and that were used. */
  readonly resumed: number;
}

/**
 * Downloads one file. The target's name appears, replacing an older file, only when the whole file is on the disk, its
 * length is what was announced, its hash is the expected one and the one the publisher gives (see {@link get}), and
 * everything is synced. Until then it is `<target>.part`, which stays after an interruption of any kind, the end of the
 * process included; the next call asks only for the rest, if the server can show that the file is still the same (strong
 * ETag, Last-Modified a minute older than its answer, or the publisher's hash), and for the whole file otherwise. What a
 * power cut took from the part's end is found out by the publisher's or the expected hash, without one of them it is not.
 *
 * Cut connections, silence, 408, 425, 429 and 5xx are tried again with growing pauses (or the server's `Retry-After`),
 * each try going on from what has arrived. Where nobody was reached yet there is one try: no internet is told at once.
 *
 * Cost: reads the file once more at the end for its hash, about a second per GB.
 *
 * @throws InspectionError `download_failed` (network, server, proxy, damaged on the way); `download_changed` when the
 *   hash is not `expectedSha256`, at once where the publisher gives the hash; `request_aborted` by the signal;
 *   `storage_full`; `storage_unavailable`; `invalid_config` for an unusable address of file or proxy
 */
export async function downloadFile(download: Download): Promise<Downloaded> {
  const url = checkedUrl(download.url);
  const timing = { ...defaultTiming, ...download.timing };
  const part = await openPartialFile(download.target);
  try {
    await fill({ ...download, proxies: download.proxies ?? {}, url, address: withoutLogin(url).href, timing, part });
    const sha256 = await part.sha256();
    await requireHash(part, sha256, download);
    const { size: bytes, resumed } = part;
    await part.publish();
    return { bytes, sha256, resumed };
  } finally {
    await part.close();
  }
}

/** A download under way. */
interface Job extends Omit<Download, 'url' | 'timing' | 'proxies'> {
  readonly url: URL;
  /** The url without login, as it is written down. */
  readonly address: string;
  readonly proxies: Proxies;
  readonly timing: DownloadTiming;
  readonly part: PartialFile;
}

function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  throw new InspectionError(
    'invalid_config',
    `The address '${text.replace(/^.*@/, '')}' cannot be downloaded from; it must begin with https:// or http://.`,
  );
}

async function requireHash(part: PartialFile, sha256: string, download: Download): Promise<void> {
  const { expectedSha256, target } = download;
  const published = part.origin?.publishedSha256 ?? sha256;
  if (sha256 !== published) {
    await part.discard();
    throw new InspectionError(
      'download_failed',
      `${basename(target)} was damaged on the way: its SHA-256 is ${sha256}, the publisher says ${published}. It was thrown away; start again.`,
    );
  }
  if (expectedSha256 !== undefined && sha256 !== expectedSha256) {
    await part.discard();
    throw changed(sha256, expectedSha256, target);
  }
}

function changed(sha256: string, expectedSha256: string, target: string): InspectionError {
  return new InspectionError(
    'download_changed',
    `${basename(target)} is not the expected file: its SHA-256 is ${sha256}, expected ${expectedSha256}. Nothing was replaced.`,
  );
}

/** Tries until the part is whole. */
async function fill(job: Job): Promise<void> {
  const { part, signal, timing } = job;
  const seen = { answer: false };
  let mayResume = true;
  let failures = 0;
  let best = part.size;
  while (!isWhole(job)) {
    try {
      await attempt(job, mayResume, seen);
      return;
    } catch (error) {
      if (signal?.aborted === true) throw stopped(part, error);
      if (error instanceof RangeUnusable) {
        mayResume = false;
        continue;
      }
      if (!(error instanceof Interruption) || (error.mayBeOffline && !seen.answer)) throw error;
      failures = part.size >= best + PROGRESS_BYTES ? 1 : failures + 1;
      best = Math.max(best, part.size);
      const pauseMs = error.retryAfterMs ?? Math.min(timing.pauseMs * 2 ** (failures - 1), timing.longestPauseMs);
      if (failures >= timing.tries || pauseMs > timing.longestPauseMs) throw error;
      await timing.wait(pauseMs, signal).catch((cause) => {
        throw stopped(part, cause);
      });
    }
  }
}

function stopped(part: PartialFile, cause: unknown): InspectionError {
  return new InspectionError(
    'request_aborted',
    `The download was stopped; ${part.size} bytes are kept for the next start.`,
    { cause },
  );
}

/** A process that ended between the last byte and the rename left nothing to ask for. */
function isWhole({ part, address }: Job): boolean {
  return part.origin?.url === address && part.origin.length === part.size;
}

/**
 * One request and its body, ended by the caller's signal or by silence.
 *
 * @param seen told when there is an answer of any kind
 */
async function attempt(job: Job, mayResume: boolean, seen: { answer: boolean }): Promise<void> {
  const { part, url, proxies, signal, timing } = job;
  const silence = new AbortController();
  const watchdog = setTimeout(() => silence.abort(), timing.stallMs);
  const network: Network = {
    proxies,
    signal: signal === undefined ? silence.signal : AbortSignal.any([silence.signal, signal]),
    connectMs: timing.connectMs,
  };
  let peer: Peer = { url, proxy: null };
  try {
    const resumable = mayResume && part.origin?.url === job.address ? part.origin : null;
    const answer = await get(url, (published) => rangeHeaders(part.size, resumable, published), network);
    peer = answer;
    seen.answer = true;
    try {
      await receive(job, answer, watchdog);
    } finally {
      answer.body.destroy();
    }
  } catch (error) {
    throw silence.signal.aborted ? stalled(peer, timing.stallMs) : networkFailure(error, peer);
  } finally {
    clearTimeout(watchdog);
  }
}

/** Asks for the rest only where the server can tell, or the publisher has told, that it is the same file's rest. */
function rangeHeaders(size: number, origin: Origin | null, published: Published): Readonly<Record<string, string>> {
  if (origin === null || size === 0) return {};
  const range = `bytes=${size}-`;
  if (published.sha256 !== null) return published.sha256 === origin.publishedSha256 ? { range } : {};
  return origin.validator === null ? {} : { range, 'if-range': origin.validator };
}

/** Writes an answer's body into the part. */
async function receive(job: Job, answer: Answer, watchdog: NodeJS.Timeout): Promise<void> {
  const { part, onProgress, refuseHtml = false } = job;
  const isRest = answer.status === 206 && answer.ranged;
  if (answer.status !== 200 && !isRest) throw refusal(answer, job.timing);
  requireWanted(job, answer);
  const length = isRest ? lengthOfSameFile(part, answer) : announcedLength(answer);

  let begun = isRest;
  for await (const piece of withLongFirstPiece(answer.body, HEAD_BYTES)) {
    watchdog.refresh();
    if (!begun) {
      // Before the part is emptied: a login page must not cost what has arrived.
      if (refuseHtml && looksLikeHtml(piece)) throw webPage(answer);
      await part.start(originOf(job, answer, length));
      begun = true;
    }
    if (length !== null && part.size + piece.length > length) {
      throw isRest ? new RangeUnusable() : tooLong(answer, length);
    }
    await part.append(piece);
    onProgress?.(part.size, length);
  }
  if (!begun) await part.start(originOf(job, answer, length));
  if (length !== null && part.size !== length) throw tooShort(answer, part.size, length);
}

function refusal(answer: Answer, timing: DownloadTiming): Error {
  const { status, headers, ranged } = answer;
  // No bytes behind ours, or a proxy that refuses every range: either way the whole file may still be had.
  if (ranged && [400, 403, 412, 416].includes(status)) return new RangeUnusable();
  return statusFailure(status, retryAfterMs(headers['retry-after'], timing.now()), answer);
}

/** Refuses, before anything is written, what cannot be the file. */
function requireWanted({ refuseHtml, expectedSha256, target }: Job, answer: Answer): void {
  const { headers, published, url } = answer;
  if (refuseHtml === true && /^\s*(text\/html|application\/xhtml)/i.test(headers['content-type'] ?? '')) {
    throw webPage(answer);
  }
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    throw new InspectionError(
      'download_failed',
      `${url.host} sent the file packed (content-encoding ${encoding}) though asked not to. Use another mirror or proxy.`,
    );
  }
  if (expectedSha256 !== undefined && published.sha256 !== null && published.sha256 !== expectedSha256) {
    throw changed(published.sha256, expectedSha256, target);
  }
}

/**
 * The length of the whole file, of which `answer` brings the rest; null if nobody says.
 *
 * @throws RangeUnusable unless the rest begins where ours ends and belongs to the same file, as far as the server tells
 */
function lengthOfSameFile({ origin, size }: PartialFile, { headers, published }: Answer): number | null {
  const [, start, total = ''] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? [];
  const known = origin?.length ?? null;
  const length = total === '*' ? known : Number(total);
  const otherTag =
    published.sha256 === null &&
    headers.etag !== undefined &&
    origin?.validator?.startsWith('"') === true &&
    headers.etag !== origin.validator;
  if (Number(start) !== size || (known !== null && length !== known) || otherTag) throw new RangeUnusable();
  return length;
}

/** @throws InspectionError `download_failed` when a cut connection could not be told from the end of the file */
function announcedLength({ headers, published, url }: Answer): number | null {
  const announced = headers['content-length'];
  if (announced !== undefined) return Number(announced);
  if (published.bytes !== null || headers['transfer-encoding'] !== undefined) return published.bytes;
  throw new InspectionError(
    'download_failed',
    `${url.host} does not say how long the file is, so that half of it could pass for the whole. Use another mirror.`,
  );
}

function originOf({ address }: Job, { headers, published }: Answer, length: number | null): Origin {
  return { url: address, validator: strongValidator(headers), publishedSha256: published.sha256, length };
}

/** What `If-Range` may carry (RFC 9110, 13.1.5): a weak tag, or a date so young that the file may change within it, may not. */
function strongValidator({ etag, date, 'last-modified': modified }: Answer['headers']): string | null {
  if (etag !== undefined) return etag.startsWith('"') ? etag : null;
  const ageMs = Date.parse(date ?? '') - Date.parse(modified ?? '');
  return modified !== undefined && ageMs >= 60_000 ? modified : null;
}

function retryAfterMs(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function looksLikeHtml(piece: Uint8Array): boolean {
  const text = Buffer.from(piece.buffer, piece.byteOffset, Math.min(piece.length, HEAD_BYTES)).toString('latin1');
  return /^(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head)\b/is.test(text);
}

/** The pieces of a body, the first of them `bytes` long or longer unless all of it is shorter. */
async function* withLongFirstPiece(body: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let held: Buffer | null = Buffer.alloc(0);
  for await (const piece of body) {
    if (held === null) {
      yield piece;
    } else {
      held = Buffer.concat([held, piece]);
      if (held.length < bytes) continue;
      yield held;
      held = null;
    }
  }
  if (held !== null && held.length > 0) yield held;
}

function tooShort({ url }: Answer, bytes: number, length: number): Interruption {
  return new Interruption(`${url.host} sent ${bytes} of the ${length} bytes it announced. Start again later.`, {});
}

function tooLong({ url }: Answer, length: number): InspectionError {
  return new InspectionError(
    'download_failed',
    `${url.host} sends more than the ${length} bytes it announced. Use another mirror.`,
  );
}
