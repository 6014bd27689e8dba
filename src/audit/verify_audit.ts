import { join } from 'node:path';
import { type ChainFile, type ChainHead, chainFileName } from './audit_chain.ts';
import { linesOf, listChains, sightingsIn } from './audit_files.ts';
import { type AuditFinding, type AuditNote, type CheckHooks, checkChain } from './chain_check.ts';

export interface ChainReport {
  readonly chain: string;
  readonly files: number;
  readonly lines: number;
  /** Its last line's; whoever keeps this elsewhere can tell later that the chain up to here is still the same. */
  readonly head: ChainHead;
  /** False: it ends without `stop`, because its process was killed, or runs. */
  readonly stopped: boolean;
}

export interface AuditReport {
  readonly lines: number;
  /** Lines by kind. */
  readonly kinds: Readonly<Record<string, number>>;
  readonly chains: readonly ChainReport[];
  /** How many findings there are; `findings` holds the first thousand. */
  readonly found: number;
  readonly findings: readonly AuditFinding[];
  readonly notes: readonly AuditNote[];
}

/** The files of a chain by their numbers, and where each lies. */
type PlacedFiles = ReadonlyMap<number, ChainFile & { readonly path: string }>;

const mostFindings = 1000;

/**
 * Looks for lines that were changed, removed, put in or moved, and for files that are gone. The service may go on writing.
 *
 * What nobody can see without a head kept elsewhere: that the newest lines of the newest chain are cut away at a line's end,
 * or that someone has written all from some line on anew, hashes and later chains included.
 *
 * @param folders of audit files: the live one, and those that old files were moved to
 * @param heads hashes of lines that must be there
 * @throws Node's error when a file cannot be read
 */
export async function verifyAudit(folders: readonly string[], heads: readonly string[] = []): Promise<AuditReport> {
  const findings: AuditFinding[] = [];
  const notes: AuditNote[] = [];
  const kinds = new Map<string, number>();
  const missingHeads = new Set(heads);
  let found = 0;
  const hooks: CheckHooks = {
    onFinding: (finding) => {
      if (found++ < mostFindings) findings.push(finding);
    },
    onNote: (note) => notes.push(note),
  };
  const onLine = (kind: string, hash: string) => {
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    missingHeads.delete(hash);
  };

  const placed = await placeFiles(folders);
  const seen = await seenByOthers(placed);
  const chains: ChainReport[] = [];
  for (const chain of [...new Set([...placed.keys(), ...seen.keys()])].sort()) {
    const files = placed.get(chain) ?? new Map();
    const later = async (number: number) => (await placeFiles(folders)).get(chain)?.get(number);
    const report = await verifyChain({ chain, files, later, seen: seen.get(chain) ?? new Map() }, hooks, onLine);
    if (report.files > 0) chains.push(report);
  }
  for (const head of missingHeads)
    hooks.onFinding({ problem: 'missing_head', file: '', line: null, text: `No line has the hash ${head}.` });
  const lines = chains.reduce((sum, one) => sum + one.lines, 0);
  return { lines, kinds: Object.fromEntries([...kinds].sort()), chains, found, findings, notes };
}

interface ChainToVerify {
  readonly chain: string;
  readonly files: PlacedFiles;
  /** Looks again for a file that may have been begun meanwhile. */
  readonly later: (number: number) => Promise<(ChainFile & { readonly path: string }) | undefined>;
  readonly seen: ReadonlyMap<number, string>;
}

async function verifyChain(
  { chain, files, later, seen }: ChainToVerify,
  hooks: CheckHooks,
  onLine: (kind: string, hash: string) => void,
): Promise<ChainReport> {
  const check = checkChain(seen, hooks);
  const last = Math.max(1, ...files.keys());
  let lines = 0;
  /** The last line says that another file follows. */
  let goesOn = false;
  for (let number = 1; number <= last || goesOn; number++) {
    const file = files.get(number) ?? (number > last ? await later(number) : undefined);
    goesOn = false;
    if (file === undefined) {
      check.missingFile({ chain, number });
      continue;
    }
    let line = 0;
    for await (const { bytes, isWhole } of linesOf(file.path)) {
      const place = { file, line: ++line };
      if (!isWhole) {
        check.tail(bytes, place);
        continue;
      }
      const read = check.line(bytes, place);
      if (read === null) continue;
      lines++;
      goesOn = read.kind === 'rotated';
      onLine(read.kind, read.hash);
    }
    if (line === 0)
      hooks.onNote({ file: chainFileName(file), text: 'Empty: the process was ended before its first line.' });
  }
  const { head, kind } = check.end();
  return { chain, files: files.size, lines, head, stopped: kind === 'stop' };
}

async function placeFiles(folders: readonly string[]): Promise<ReadonlyMap<string, PlacedFiles>> {
  const placed = new Map<string, Map<number, ChainFile & { readonly path: string }>>();
  for (const folder of folders) {
    for (const [chain, files] of await listChains(folder)) {
      const known = placed.get(chain) ?? new Map();
      for (const file of files) known.set(file.number, { ...file, path: join(folder, chainFileName(file)) });
      placed.set(chain, known);
    }
  }
  return placed;
}

/** By chain and sequence the hash that a later chain has seen there; where nothing could be read of a chain, that it was. */
async function seenByOthers(
  placed: ReadonlyMap<string, PlacedFiles>,
): Promise<ReadonlyMap<string, ReadonlyMap<number, string>>> {
  const seen = new Map<string, Map<number, string>>();
  for (const files of placed.values()) {
    const first = files.get(1);
    for (const { chain, sequence, hash } of first === undefined ? [] : await sightingsIn(first.path)) {
      const hashes = seen.get(chain) ?? new Map();
      if (sequence > 0) hashes.set(sequence, hash);
      seen.set(chain, hashes);
    }
  }
  return seen;
}
