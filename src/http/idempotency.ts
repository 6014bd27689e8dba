import { createHash } from 'node:crypto';
import { InspectionError } from '../errors.ts';
import { keyReused, type RepeatKey } from '../inspection/jobs.ts';
import type { UploadedFile } from './multipart.ts';

/** What a request asks for. Not its bytes: a client that repeats a form writes another boundary into it. */
export interface AskedFor {
  readonly method: string;
  readonly path: string;
  readonly key: object;
  /** As they were checked; unknown fields do not count. */
  readonly fields: object;
  readonly pictures: readonly Pick<UploadedFile, 'name' | 'bytes'>[];
}

const maxKeyCharacters = 255;

/**
 * The text of an `Idempotency-Key` header: a string in quotes as draft-ietf-httpapi-idempotency-key-header has it, or the
 * bare text that most clients send. Null when it is absent or empty.
 *
 * @throws InspectionError `invalid_value`
 */
export function idempotencyKey(header: string | undefined): string | null {
  const given = (header ?? '').trim();
  const quoted = /^"((?:[^"\\]|\\["\\])*)"$/.exec(given)?.[1];
  const key = quoted === undefined ? given : quoted.replace(/\\(.)/g, '$1');
  if (key === '') return null;
  if (key.length <= maxKeyCharacters && /^[\x20-\x7e]+$/.test(key)) return key;
  throw new InspectionError(
    'invalid_value',
    `The header Idempotency-Key has ${key.length} characters; it must be 1 to ${maxKeyCharacters} printable ASCII characters, a UUID for instance.`,
  );
}

/** SHA-256 over all that the request asks for. The pictures are hashed beside the event loop. */
export async function fingerprintOf({ method, path, key, fields, pictures }: AskedFor): Promise<string> {
  const hashed: [string, string][] = [];
  for (const { name, bytes } of pictures) {
    const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
    hashed.push([name, Buffer.from(digest).toString('hex')]);
  }
  return createHash('sha256')
    .update(JSON.stringify([method, path, key, fields, hashed]))
    .digest('hex');
}

/** What was answered to requests that brought a key, for a while. */
export interface AnswerLedger {
  /**
   * Answers a repeated request as the first was, or does the work. Only successes are kept: what failed has changed
   * nothing, so its repetition is tried anew.
   *
   * @throws InspectionError `idempotency_key_reused`; `request_in_progress` while the first is not answered; what `work`
   *   throws
   */
  answer(
    repeat: RepeatKey,
    work: () => Promise<object>,
  ): Promise<{ readonly body: object; readonly repeated: boolean }>;
  /** Whether {@link answer} would not do the work. */
  has(key: string): boolean;
}

/** Bounds of what is kept; a larger answer is not, so its repetition is done anew. */
export const ledgerLimits = { answers: 100, characters: 256 * 1024, hours: 24 } as const;

export function createAnswerLedger(nowMs: () => number): AnswerLedger {
  /** `text` is null while the request is worked on. The oldest first. */
  const entries = new Map<
    string,
    { readonly fingerprint: string; readonly text: string | null; readonly atMs: number }
  >();

  const forgetOld = () => {
    const oldestMs = nowMs() - ledgerLimits.hours * 3600 * 1000;
    const answered = [...entries].filter(([, { text }]) => text !== null);
    const tooMany = answered.length - ledgerLimits.answers;
    for (const [i, [key, { atMs }]] of answered.entries()) if (i < tooMany || atMs < oldestMs) entries.delete(key);
  };

  return {
    has(key) {
      forgetOld();
      return entries.has(key);
    },
    async answer({ key, fingerprint }, work) {
      forgetOld();
      const earlier = entries.get(key);
      if (earlier !== undefined && earlier.fingerprint !== fingerprint) throw keyReused(key);
      if (earlier?.text === null) {
        throw new InspectionError(
          'request_in_progress',
          `The request that brought the Idempotency-Key ${JSON.stringify(key)} first is being worked on; repeat it in a second.`,
        );
      }
      if (earlier !== undefined) return { body: JSON.parse(earlier.text as string), repeated: true };
      entries.set(key, { fingerprint, text: null, atMs: nowMs() });
      try {
        const body = await work();
        const text = JSON.stringify(body);
        entries.delete(key);
        if (text.length <= ledgerLimits.characters) entries.set(key, { fingerprint, text, atMs: nowMs() });
        return { body, repeated: false };
      } catch (error) {
        entries.delete(key);
        throw error;
      }
    },
  };
}
