import { createHash, webcrypto } from 'node:crypto';

/** In the thread pool: a large picture does not hold up the others. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex');
}

/** At once, in the calling thread: for names, records and lines. */
export function sha256HexNow(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
