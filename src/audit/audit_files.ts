import { join } from 'node:path';
import { ensureFolder, syncFolder } from '../store/atomic_write.ts';
import { disk, writeAll } from '../store/disk.ts';
import { listEntries } from '../store/stored_file.ts';
import {
  type AuditLine,
  type ChainFile,
  type ChainHead,
  chainFileName,
  chainFileOf,
  emptyHead,
  readLine,
} from './audit_chain.ts';

export const AUDIT_FOLDER = 'audit';

/** A file that grows at its end and is never written elsewhere. One writer. */
export interface AuditFile {
  /** The bytes are on the disk when this returns; after a failure any part of them may be. */
  append(bytes: Uint8Array): Promise<void>;
  /** Takes back what a failed {@link append} has left. */
  cutTo(size: number): Promise<void>;
  close(): Promise<void>;
}

/** Opens a file of the audit folder, which is made if need be; its name is on the disk when this returns. */
export type OpenAuditFile = (modelsDir: string, name: string) => Promise<AuditFile>;

/** Errors: Node's, and `damaged_file` for an audit folder that is a link out of the models folder. */
export const openAuditFile: OpenAuditFile = async (modelsDir, name) => {
  const folder = await ensureFolder(modelsDir, [AUDIT_FOLDER]);
  const handle = await disk.open(join(folder, name), 'a');
  try {
    await syncFolder(folder);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    append: async (bytes) => {
      await writeAll(handle, bytes);
      await handle.datasync();
    },
    cutTo: (size) => handle.truncate(size),
    close: () => handle.close(),
  };
};

/** The files of chains in a folder, by chain and in their order; empty when there is no such folder. */
export async function listChains(folder: string): Promise<ReadonlyMap<string, readonly ChainFile[]>> {
  const { files } = await listEntries(folder);
  const chains = new Map<string, ChainFile[]>();
  for (const file of files.map(chainFileOf).filter((found) => found !== undefined))
    chains.set(file.chain, [...(chains.get(file.chain) ?? []), file]);
  for (const of of chains.values()) of.sort((a, b) => a.number - b.number);
  return chains;
}

/** Where one chain saw another: what a line of kind `seen` tells. */
export interface Sighting extends ChainHead {
  readonly chain: string;
  /** Number of its last file. */
  readonly file: number;
  /** Bytes after its last whole line: of a line that is being written, or that a power cut has cut off. */
  readonly cutOffBytes: number;
}

export function sightingMembers({ chain, file, sequence, hash, cutOffBytes }: Sighting) {
  return { chain, file, seen_sequence: sequence, seen_hash: hash, cut_off_bytes: cutOffBytes };
}

/** Undefined for a line that tells of no other chain. */
export function sightingOf({ kind, members }: AuditLine): Sighting | undefined {
  const { chain, file, seen_sequence: sequence, seen_hash: hash, cut_off_bytes: cutOffBytes } = members;
  const isOne =
    kind === 'seen' &&
    typeof chain === 'string' &&
    typeof file === 'number' &&
    typeof sequence === 'number' &&
    typeof hash === 'string' &&
    typeof cutOffBytes === 'number';
  return isOne ? { chain, file, sequence, hash, cutOffBytes } : undefined;
}

/**
 * Where every chain of a folder stands, and what each saw of the others when it began. Reads the first lines of a chain's
 * first file and the end of its last one.
 */
export async function lookAtChains(folder: string): Promise<{
  readonly standing: readonly Sighting[];
  readonly seen: readonly Sighting[];
  /** Why some could not be read. */
  readonly failed: readonly unknown[];
}> {
  const standing: Sighting[] = [];
  const seen: Sighting[] = [];
  const failed: unknown[] = [];
  for (const files of (await listChains(folder)).values()) {
    try {
      for (const file of files.slice(0, 1)) seen.push(...(await sightingsIn(join(folder, chainFileName(file)))));
      standing.push(...(await standingOf(folder, files)));
    } catch (error) {
      failed.push(error);
    }
  }
  return { standing, seen, failed };
}

/** A rotation that was broken off leaves an empty file behind the one with the chain's end. */
async function standingOf(folder: string, files: readonly ChainFile[]): Promise<readonly Sighting[]> {
  for (const file of [...files].reverse()) {
    const end = await endOf(join(folder, chainFileName(file)));
    if (end !== null) return [{ chain: file.chain, file: file.number, ...end }];
  }
  return [];
}

/** Read at a time; a line is far shorter. */
const pieceBytes = 64 * 1024;

/** What a chain saw of the others when it began, by its first file; stops at the first line that tells of something else. */
export async function sightingsIn(path: string): Promise<readonly Sighting[]> {
  const found: Sighting[] = [];
  for await (const { bytes, isWhole } of linesOf(path)) {
    const line = isWhole ? readLine(bytes) : null;
    if (line?.kind === 'start') continue;
    const sighting = line === null ? undefined : sightingOf(line);
    if (sighting === undefined) break;
    found.push(sighting);
  }
  return found;
}

/** The last whole line of a file, and how many bytes follow; null without a line. */
async function endOf(path: string): Promise<(ChainHead & { readonly cutOffBytes: number }) | null> {
  const handle = await disk.open(path, 'r');
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - pieceBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - start), 0, size - start, start);
    const end = buffer.subarray(0, bytesRead);
    const lineEnd = end.lastIndexOf(newline);
    if (lineEnd < 0) return size === 0 ? null : { ...emptyHead, cutOffBytes: size };
    const lineStart = lineEnd === 0 ? 0 : end.lastIndexOf(newline, lineEnd - 1) + 1;
    const { sequence, hash } = readLine(end.subarray(lineStart, lineEnd)) ?? emptyHead;
    return { sequence, hash, cutOffBytes: end.length - lineEnd - 1 };
  } finally {
    await handle.close();
  }
}

const newline = '\n'.charCodeAt(0);
/** Bytes of a line that are kept; none of ours is nearly as long. */
const mostLineBytes = 1024 * 1024;

/** The lines of a file one after the other, without their ends; `isWhole` is false for what follows the last end. */
export async function* linesOf(
  path: string,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly isWhole: boolean }> {
  const handle = await disk.open(path, 'r');
  try {
    const piece = Buffer.alloc(pieceBytes);
    let pending = Buffer.alloc(0);
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, piece.length, null);
      if (bytesRead === 0) break;
      const fresh = piece.subarray(0, bytesRead);
      let start = 0;
      for (let end = fresh.indexOf(newline); end >= 0; end = fresh.indexOf(newline, start)) {
        yield { bytes: Buffer.concat([pending, fresh.subarray(start, end)]), isWhole: true };
        pending = Buffer.alloc(0);
        start = end + 1;
      }
      if (pending.length < mostLineBytes) pending = Buffer.concat([pending, fresh.subarray(start)]);
    }
    if (pending.length > 0) yield { bytes: pending, isWhole: false };
  } finally {
    await handle.close();
  }
}
