import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, storageError } from '../store/atomic_write.ts';
import { fileFacts } from '../store/stored_file.ts';
import { type AuditEntry, chainFileName, emptyHead, linkedLine, newChainName } from './audit_chain.ts';
import {
  AUDIT_FOLDER,
  type AuditFile,
  listChains,
  lookAtChains,
  type OpenAuditFile,
  openAuditFile,
  type Sighting,
  sightingMembers,
} from './audit_files.ts';

/** What happened, without its time. */
export type AuditEvent = Omit<AuditEntry, 'time'> & { readonly kind: string };

/**
 * The audit of one process: a chain of its own in `audit/` of the models folder, which no other process writes to. Nothing
 * is ever removed from it.
 *
 * A chain begins with `start` and a line `seen` for each chain whose end no other has seen: so one that is removed, or cut
 * shorter than it was then, is missed by the next. Files of a chain end with `rotated` and begin with `continued`.
 */
export interface AuditLog {
  /**
   * Writes lines, in the order of the calls; they are on the disk when this returns. Lines that come while others are being
   * written go to the disk together with one sync.
   *
   * @throws InspectionError `storage_full`, `storage_unavailable`, `damaged_file`: none of these lines will be in the audit;
   *   `shutting_down` after `close`
   */
  append(events: readonly AuditEvent[]): Promise<void>;
  /**
   * Called before work that needs a line when it is done: begins the chain, or tries again what has failed.
   *
   * @throws InspectionError as `append`
   */
  requireWritable(): Promise<void>;
  /** Why lines cannot be written now; null: they can. It is tried again every few seconds, and by every request. */
  problem(): string | null;
  /** Writes `stop` behind what was appended, where the chain has begun. */
  close(): Promise<void>;
}

export interface AuditLogParts {
  readonly modelsDir: string;
  /** A file that has reached this size is followed by the next. */
  readonly fileBytes: number;
  /** What the first line tells of this process. */
  readonly start: Readonly<Record<string, unknown>>;
  readonly now: () => Date;
  readonly notify: (message: string, details: Readonly<Record<string, unknown>>) => void;
  readonly openFile?: OpenAuditFile;
}

interface Group {
  readonly entries: readonly AuditEntry[];
  readonly resolve: () => void;
  readonly reject: (error: InspectionError) => void;
}

/** What the last write failed with, and the lines that were refused since. */
interface Failure {
  readonly error: InspectionError;
  readonly reason: string;
  readonly lines: number;
}

const tryAgainMs = 5000;

/** Touches nothing until a method is called. */
export function createAuditLog(parts: AuditLogParts): AuditLog {
  const { modelsDir, fileBytes, now, notify, openFile = openAuditFile } = parts;
  const chain = newChainName(now(), randomBytes(8).toString('hex'));
  /** `size` counts what was written and synced. */
  let current: { readonly file: AuditFile; readonly number: number; readonly size: number } | null = null;
  let head = emptyHead;
  let failure: Failure | null = null;
  let waiting: Group[] = [];
  let isWriting = false;
  let closing: Promise<void> | null = null;

  const entry = (event: AuditEvent): AuditEntry => ({ time: now().toISOString(), ...event });

  function enqueue(events: readonly AuditEvent[]): Promise<void> {
    return new Promise((resolve, reject) => {
      waiting.push({ entries: events.map(entry), resolve, reject });
      if (!isWriting) void writeWaiting();
    });
  }

  /** Never rejects. What comes while it writes is written next. */
  async function writeWaiting(): Promise<void> {
    isWriting = true;
    while (waiting.length > 0) {
      const groups = waiting;
      waiting = [];
      const entries = groups.flatMap((group) => group.entries);
      try {
        await write(entries);
        if (failure !== null) notify('the audit is written again', { refused_lines: failure.lines });
        failure = null;
        for (const { resolve } of groups) resolve();
      } catch (error) {
        if (failure === null) tryAgainLater();
        failure = failureOf(error, entries.length + (failure?.lines ?? 0));
        notify('the audit cannot be written', { err: error, refused_lines: failure.lines });
        for (const { reject } of groups) reject(failure.error);
      }
    }
    // Not a moment later: who was just answered may come again.
    isWriting = false;
  }

  function tryAgainLater(): void {
    setTimeout(() => {
      if (failure === null || closing !== null) return;
      enqueue([]).catch(tryAgainLater);
    }, tryAgainMs).unref();
  }

  async function write(entries: readonly AuditEntry[]): Promise<void> {
    current ??= { file: await openFile(modelsDir, chainFileName({ chain, number: 1 })), number: 1, size: 0 };
    if (failure !== null) await current.file.cutTo(current.size);
    if (current.size >= fileBytes) await rotate();
    const noted =
      failure === null ? [] : [entry({ kind: 'write_failed', reason: failure.reason, refused_lines: failure.lines })];
    await put([...(await opening()), ...noted, ...entries]);
  }

  /** What the current file begins with, if nothing is in it yet. */
  async function opening(): Promise<readonly AuditEntry[]> {
    if (current === null || current.size > 0) return [];
    const place = { chain, file: current.number };
    if (current.number > 1) return [entry({ kind: 'continued', ...place })];
    const ends = (await unseenEnds()).map((sighting) => entry({ kind: 'seen', ...sightingMembers(sighting) }));
    return [entry({ kind: 'start', ...place, ...parts.start }), ...ends];
  }

  async function unseenEnds(): Promise<readonly Sighting[]> {
    const { standing, seen, failed } = await lookAtChains(join(modelsDir, AUDIT_FOLDER));
    // No reason to audit nothing; `okng audit verify` tells what is wrong with them.
    for (const error of failed) notify('an earlier audit file cannot be read', { err: error });
    const known = new Set(seen.map((sighting) => `${sighting.chain} ${sighting.sequence} ${sighting.hash}`));
    return standing.filter((end) => end.chain !== chain && !known.has(`${end.chain} ${end.sequence} ${end.hash}`));
  }

  async function put(entries: readonly AuditEntry[]): Promise<void> {
    if (current === null || entries.length === 0) return;
    let text = '';
    let end = head;
    for (const one of entries) {
      const linked = linkedLine(end, one);
      text += linked.line;
      end = linked.head;
    }
    const bytes = Buffer.from(text);
    await current.file.append(bytes);
    head = end;
    current = { ...current, size: current.size + bytes.length };
  }

  /** The next file is there, if empty, before a line says so. */
  async function rotate(): Promise<void> {
    if (current === null) return;
    const { file, number } = current;
    const next = await openFile(modelsDir, chainFileName({ chain, number: number + 1 }));
    try {
      await put([entry({ kind: 'rotated', file: number + 1 })]);
    } catch (error) {
      await next.close();
      throw error;
    }
    current = { file: next, number: number + 1, size: 0 };
    await file.close();
    tellSize(chainFileName({ chain, number: number + 1 }));
  }

  /** Nobody waits for the telling. */
  function tellSize(file: string): void {
    const tell = (details: object) =>
      notify('the audit goes on in a new file; okng never removes one', { file, ...details });
    folderSize(join(modelsDir, AUDIT_FOLDER)).then(tell, (error: unknown) => tell({ err: error }));
  }

  return {
    append: (events) => (closing === null ? enqueue(events) : Promise.reject(closed())),
    async requireWritable() {
      if (closing !== null) throw closed();
      if (head.sequence === 0 || failure !== null) await enqueue([]);
    },
    problem: () => failure?.error.message ?? null,
    close() {
      closing ??= (async () => {
        // Only where something was audited: a process that did nothing leaves nothing.
        if (head.sequence > 0 || isWriting) await enqueue([{ kind: 'stop' }]);
        await current?.file.close();
      })().catch((error: unknown) => notify('the end of the audit could not be written', { err: error }));
      return closing;
    },
  };
}

function failureOf(error: unknown, lines: number): Failure {
  const named = storageError(error);
  const { code } = named instanceof InspectionError ? named : { code: 'storage_unavailable' as const };
  const reason = errnoOf(error) ?? code;
  const what = code === 'storage_full' ? 'Free some space' : 'Check the rights and the disk of the models folder';
  return {
    reason,
    lines,
    error: new InspectionError(
      code,
      `The audit cannot be written (${reason}), and without its line nothing is answered. ${what}, or set BDI_AUDIT=0.`,
      { cause: error },
    ),
  };
}

function closed(): InspectionError {
  return new InspectionError('shutting_down', 'The service is shutting down, and its audit takes no more lines.');
}

async function folderSize(folder: string): Promise<{ readonly audit_files: number; readonly audit_mib: number }> {
  let bytes = 0;
  const names = [...(await listChains(folder)).values()].flat().map(chainFileName);
  for (const name of names) bytes += (await fileFacts(join(folder, name)))?.sizeBytes ?? 0;
  return { audit_files: names.length, audit_mib: Math.round(bytes / 2 ** 20) };
}
