import { z } from 'zod';
import { sha256HexNow } from '../store/sha256.ts';
import { encodeJson } from '../store/stored_file.ts';

/**
 * The lines of an audit: JSON objects in UTF-8, one per line, each with the hash of the one before, so that none can be
 * changed, removed, inserted or moved without breaking the chain.
 *
 * A line is `{"sequence":n,"previous":"…", …,"hash":"…"}`: sequences count from 1 without gaps, `hash` is the SHA-256 of the
 * line's bytes before `,"hash"`, and `previous` the `hash` of the line before, zeros in a chain's first.
 */

/** What a line tells beside its place in the chain. */
export interface AuditEntry {
  /** When it was done, ISO 8601 in UTC. */
  readonly time: string;
  readonly kind: string;
  readonly [member: string]: unknown;
}

/** Where a chain stands: the number and hash of its last line. */
export interface ChainHead {
  readonly sequence: number;
  readonly hash: string;
}

/** Of a chain that has no line yet. */
export const emptyHead: ChainHead = { sequence: 0, hash: '0'.repeat(64) };

/** @param entry without `sequence`, `previous` and `hash` */
export function linkedLine(before: ChainHead, entry: AuditEntry): { readonly line: string; readonly head: ChainHead } {
  const sequence = before.sequence + 1;
  const content = encodeJson({ sequence, previous: before.hash, ...entry }).slice(0, -1);
  const hash = sha256HexNow(content);
  return { line: `${content},"hash":"${hash}"}\n`, head: { sequence, hash } };
}

const hashText = z.string().regex(/^[0-9a-f]{64}$/);
const lineSchema = z.looseObject({
  sequence: z.int().min(1),
  previous: hashText,
  time: z.string(),
  kind: z.string(),
});

/** A line that was read. */
export interface AuditLine extends ChainHead {
  readonly previous: string;
  readonly kind: string;
  /** All its members. */
  readonly members: Readonly<Record<string, unknown>>;
  /** Its content is what its hash says. */
  readonly intact: boolean;
}

const seal = /^,"hash":"([0-9a-f]{64})"\}$/;
const sealBytes = ',"hash":""}'.length + 64;

/** @param bytes without the line's end. @returns null for what is no audit line */
export function readLine(bytes: Uint8Array): AuditLine | null {
  const content = bytes.subarray(0, -sealBytes);
  const hash = seal.exec(Buffer.from(bytes.subarray(-sealBytes)).toString('latin1'))?.[1];
  if (hash === undefined) return null;
  const read = lineSchema.safeParse(parsed(content));
  if (!read.success) return null;
  const { sequence, previous, kind } = read.data;
  return { sequence, previous, kind, hash, members: read.data, intact: sha256HexNow(content) === hash };
}

function parsed(content: Uint8Array): unknown {
  try {
    return JSON.parse(`${new TextDecoder('utf-8', { fatal: true }).decode(content)}}`);
  } catch {
    return undefined;
  }
}

/**
 * Whether bytes after a chain's last whole line are what a power cut leaves of the next one: its beginning, perhaps with
 * zeros where the rest did not reach the disk. What comes after a finished line was put there by someone.
 */
export function isCutOff(tail: Uint8Array, before: ChainHead): boolean {
  const written = withoutZeros(tail);
  const beginning = Buffer.from(`{"sequence":${before.sequence + 1},"previous":"${before.hash}","time":"`);
  const known = Math.min(written.length, beginning.length);
  if (!beginning.subarray(0, known).equals(written.subarray(0, known))) return false;
  const finished = /,"hash":"[0-9a-f]{64}"\}/.exec(Buffer.from(written).toString('latin1'));
  return finished === null || finished.index + sealBytes === tail.length;
}

function withoutZeros(bytes: Uint8Array): Uint8Array {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length--;
  return bytes.subarray(0, length);
}

/** A file of a chain by its name: `<chain>-<number>.jsonl`, numbers from 1. */
export interface ChainFile {
  readonly chain: string;
  readonly number: number;
}

/** Names of chains, and so of files, sort by the time at which the chain began. */
export function newChainName(began: Date, random: string): string {
  return `${began.toISOString().replace(/[-:.]/g, '')}-${random}`;
}

export function chainFileName({ chain, number }: ChainFile): string {
  return `${chain}-${String(number).padStart(4, '0')}.jsonl`;
}

/** Undefined for a name that is none of ours. */
export function chainFileOf(name: string): ChainFile | undefined {
  const [, chain, digits] = /^(\d{8}T\d{9}Z-[0-9a-f]{16})-(\d{4,15})\.jsonl$/.exec(name) ?? [];
  if (chain === undefined || digits === undefined) return undefined;
  const file = { chain, number: Number(digits) };
  return file.number > 0 && chainFileName(file) === name ? file : undefined;
}
