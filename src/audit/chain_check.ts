import {
  type AuditLine,
  type ChainFile,
  type ChainHead,
  chainFileName,
  emptyHead,
  isCutOff,
  readLine,
} from './audit_chain.ts';

export type AuditProblem =
  /** Its content is not what its hash says, or the line before is not the one it was written behind. */
  | 'changed'
  /** No audit line at all. */
  | 'unreadable'
  /** Lines that should stand before it are gone. */
  | 'removed'
  /** It stands where it was not written: repeated, moved or put in. */
  | 'inserted'
  | 'missing_file'
  /** Its first line says that it is another file. */
  | 'renamed'
  /** A hash that was kept elsewhere is in none of the lines. */
  | 'missing_head';

export interface AuditFinding {
  readonly problem: AuditProblem;
  readonly file: string;
  /** From 1; null: the file as a whole. */
  readonly line: number | null;
  readonly text: string;
}

/** What is worth knowing, and no sign of tampering. */
export interface AuditNote {
  readonly file: string;
  readonly text: string;
}

/** Where a line stands. */
export interface LinePlace {
  readonly file: ChainFile;
  /** From 1. */
  readonly line: number;
}

export interface CheckHooks {
  readonly onFinding: (finding: AuditFinding) => void;
  readonly onNote: (note: AuditNote) => void;
}

/** Goes through one chain, file by file and line by line in their order. */
export interface ChainCheck {
  /** @returns the line; null for one that cannot be read */
  line(bytes: Uint8Array, place: LinePlace): AuditLine | null;
  /** What follows a file's last whole line. */
  tail(bytes: Uint8Array, place: LinePlace): void;
  missingFile(file: ChainFile): void;
  /** After the last line. @returns what is known of the last one that could be read */
  end(): ChainEnd;
}

export interface ChainEnd {
  readonly head: ChainHead;
  /** Its last line; empty without lines. */
  readonly kind: string;
}

/**
 * Goes on behind whatever it has found: one change is one finding, as far as that can be told.
 *
 * @param seen hashes that later chains have seen, by sequence
 */
export function checkChain(seen: ReadonlyMap<number, string>, { onFinding, onNote }: CheckHooks): ChainCheck {
  const unmet = new Set(seen.keys());
  let head: ChainHead = emptyHead;
  let kind = '';
  /** Null behind what cannot be read: whatever comes next is taken as it is. */
  let before: ChainHead | null = emptyHead;
  /** A line that seems to be cut off; it was not, if another comes. */
  let cutOff: { readonly bytes: number; readonly place: LinePlace } | null = null;
  let lastFile: ChainFile | null = null;

  const find = (problem: AuditProblem, { file, line }: LinePlace, text: string) =>
    onFinding({ problem, file: chainFileName(file), line, text });

  const findTail = (bytes: number, place: LinePlace) =>
    find('changed', place, `${bytes} bytes at the end are no whole line, and none that was cut off.`);

  function checkPlace({ sequence, previous, hash, intact }: AuditLine, place: LinePlace): void {
    const name = `Line ${sequence} of the chain`;
    if (!intact) find('changed', place, `${name} was changed: its content is not what its hash says.`);
    const met = seen.get(sequence);
    if (met !== undefined && met !== hash)
      find('changed', place, `${name} is another one than a later chain has seen.`);
    if (before === null) return;
    const expected = before.sequence + 1;
    if (sequence > expected)
      find('removed', place, `Lines ${expected} to ${sequence - 1} of the chain are gone before this one.`);
    else if (sequence < expected) find('inserted', place, `${name} stands where ${expected} belongs.`);
    else if (previous !== before.hash)
      find('changed', place, `${name} was not written behind the line that stands before it.`);
  }

  return {
    line(bytes, place) {
      if (cutOff !== null) findTail(cutOff.bytes, cutOff.place);
      cutOff = null;
      lastFile = place.file;
      const line = readLine(bytes);
      if (line === null) {
        find('unreadable', place, 'This is no line of an audit.');
        before = null;
        return null;
      }
      if (place.line === 1 && !isOpening(line, place.file))
        find('renamed', place, 'This is not the line that this file begins with.');
      checkPlace(line, place);
      unmet.delete(line.sequence);
      head = { sequence: line.sequence, hash: line.hash };
      before = head;
      kind = line.kind;
      return line;
    },
    tail(bytes, place) {
      lastFile = place.file;
      if (kind !== 'stop' && before !== null && isCutOff(bytes, before)) cutOff = { bytes: bytes.length, place };
      else findTail(bytes.length, place);
    },
    missingFile(file) {
      onFinding({ problem: 'missing_file', file: chainFileName(file), line: null, text: 'This file is gone.' });
      before = null;
    },
    end() {
      if (cutOff !== null) {
        const text = `${cutOff.bytes} bytes of a line that was cut off, by a power cut or a kill, or is being written: it was never answered.`;
        onNote({ file: chainFileName(cutOff.place.file), text });
      }
      const gone = [...unmet].filter((sequence) => sequence > head.sequence);
      if (gone.length > 0 && lastFile !== null) {
        const text = `Lines ${head.sequence + 1} to ${Math.max(...gone)} of the chain are gone: a later chain has seen them.`;
        onFinding({ problem: 'removed', file: chainFileName(lastFile), line: null, text });
      }
      return { head, kind };
    },
  };
}

function isOpening({ kind, members }: AuditLine, { chain, number }: ChainFile): boolean {
  return kind === (number === 1 ? 'start' : 'continued') && members.chain === chain && members.file === number;
}
