import { webcrypto } from 'node:crypto';

/** In the thread pool: a large picture does not hold up the others. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex');
}
