import { InspectionError } from '../errors.ts';

/**
 * The tar format of POSIX.1-2001 (pax) as far as it is about plain files, so that any tar program reads what is written here.
 * Files of other programs are read when they hold plain files and folders under ustar or pax names.
 */

const BLOCK_BYTES = 512;
/** Eleven octal digits. */
const HIGHEST_SIZE = 0o77777777777;
const LONGEST_NAME = 100;
/** Of one file's extended header; what we write needs less than 5 KB. */
const MOST_PAX_BYTES = 64 * 1024;

/** Where each field of a header lies: IEEE Std 1003.1, pax, "ustar Interchange Format". */
const NAME = { at: 0, bytes: LONGEST_NAME } as const;
const SIZE = { at: 124, bytes: 12 } as const;
const MODIFIED = { at: 136, bytes: 12 } as const;
const CHECKSUM = { at: 148, bytes: 8 } as const;
const TYPE = { at: 156, bytes: 1 } as const;
const MAGIC = { at: 257, bytes: 6 } as const;
const PREFIX = { at: 345, bytes: 155 } as const;

type Field = typeof NAME | typeof SIZE | typeof MODIFIED | typeof CHECKSUM | typeof TYPE | typeof MAGIC | typeof PREFIX;

/** What stands before a file's bytes. */
export interface TarFile {
  /** Relative, with `/`. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
}

export interface TarEntry {
  readonly path: string;
  /** `other`: links, devices, and what this reader does not know. */
  readonly kind: 'file' | 'folder' | 'other';
  readonly sizeBytes: number;
  /** The file's bytes, once, and before the next entry is asked for. What is not read is passed over. */
  content(): AsyncGenerator<Uint8Array>;
}

/** The blocks before a file's bytes; {@link tarPadding} follows these. Names and sizes that do not fit go into a pax header. */
export function tarHeader({ path, sizeBytes, modifiedAtMs }: TarFile): Uint8Array {
  const modified = Math.max(0, Math.floor(modifiedAtMs / 1000));
  const name = Buffer.from(path);
  const fits = name.length <= LONGEST_NAME && /^[\x20-\x7e]*$/.test(path);
  const records = [
    ...(fits ? [] : [paxRecord('path', path)]),
    ...(sizeBytes <= HIGHEST_SIZE ? [] : [paxRecord('size', `${sizeBytes}`)]),
  ];
  // Whoever knows no pax finds a name of the same length limit and nothing else.
  const shortName = fits ? path : path.replace(/[^\x21-\x7e]/gu, '_').slice(-LONGEST_NAME);
  const header = ustarBlock('0', shortName, Math.min(sizeBytes, HIGHEST_SIZE), modified);
  if (records.length === 0) return header;
  const pax = Buffer.concat(records);
  return Buffer.concat([ustarBlock('x', 'PaxHeader', pax.length, modified), pax, tarPadding(pax.length), header]);
}

/** Zeros up to the next block. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

/** What ends an archive. */
export const tarEnd: Uint8Array = new Uint8Array(2 * BLOCK_BYTES);

function ustarBlock(type: '0' | 'x', name: string, sizeBytes: number, modifiedS: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const put = ({ at }: Field | { readonly at: number }, text: string) => block.write(text, at, 'latin1');
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;
  put(NAME, name);
  put({ at: 100 }, octal(0o644, 7));
  // Owner and group: whoever unpacks.
  put({ at: 108 }, octal(0, 7));
  put({ at: 116 }, octal(0, 7));
  put(SIZE, octal(sizeBytes, 11));
  put(MODIFIED, octal(modifiedS, 11));
  put(TYPE, type);
  put(MAGIC, 'ustar\x0000');
  put(CHECKSUM, `${checksumOf(block).toString(8).padStart(6, '0')}\0 `);
  return block;
}

/** Its own length in bytes, which counts its own digits, then `key=value` and a line feed. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

/** Of the block with blanks in place of the checksum. */
function checksumOf(block: Uint8Array): number {
  let sum = CHECKSUM.bytes * 0x20;
  for (const [at, byte] of block.entries()) if (at < CHECKSUM.at || at >= CHECKSUM.at + CHECKSUM.bytes) sum += byte;
  return sum;
}

/**
 * Reads an archive from its first to its last byte, holding one piece of it at a time.
 *
 * @throws InspectionError `damaged_file`: cut off, a header that does not match its checksum, anything but zeros in a gap or
 *   behind the end. A file's bytes have no checksum in this format
 */
export async function* readTar(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const source = pieces(bytes);
  const exactly = async (count: number): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0; ) {
      const piece = await source.next(left);
      if (piece === undefined) throw damagedArchive('it is cut off');
      parts.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(parts);
  };
  const zeros = async (count: number) => {
    if ((await exactly(count)).some((byte) => byte !== 0))
      throw damagedArchive('there is something where nothing may be');
  };

  try {
    let extended: ReadonlyMap<string, string> = new Map();
    for (;;) {
      const block = await exactly(BLOCK_BYTES);
      if (block.every((byte) => byte === 0)) break;
      const header = readHeader(block);
      if (header.type === 'x') {
        if (header.sizeBytes > MOST_PAX_BYTES) throw damagedArchive('one of its headers is too long');
        extended = readPax(await exactly(header.sizeBytes));
        await zeros(tarPadding(header.sizeBytes).length);
        continue;
      }
      const sizeBytes = sizeIn(extended) ?? header.sizeBytes;
      let left = sizeBytes;
      const content = async function* () {
        while (left > 0) {
          const piece = await source.next(left);
          if (piece === undefined) throw damagedArchive('it is cut off');
          left -= piece.length;
          yield piece;
        }
      };
      yield { path: extended.get('path') ?? header.path, kind: kindOf(header.type), sizeBytes, content };
      for await (const _ of content());
      await zeros(tarPadding(sizeBytes).length);
      extended = new Map();
    }
    await zeros(BLOCK_BYTES);
    for (let rest = await source.next(BLOCK_BYTES); rest !== undefined; rest = await source.next(BLOCK_BYTES)) {
      if (rest.some((byte) => byte !== 0)) throw damagedArchive('something follows its end');
    }
  } finally {
    await source.close();
  }
}

/** Says that an archive cannot be used. */
export function damagedArchive(what: string, cause?: unknown): InspectionError {
  return new InspectionError(
    'damaged_file',
    `The archive is damaged, or not one that okng made: ${what}. Nothing was restored; take another backup.`,
    { cause },
  );
}

interface Header {
  readonly type: string;
  readonly path: string;
  readonly sizeBytes: number;
}

function readHeader(block: Buffer): Header {
  const text = ({ at, bytes }: Field) =>
    block
      .toString('utf8', at, at + bytes)
      .split('\0', 1)
      .join('');
  const stored = /^([0-7]{6})\0 $/.exec(block.toString('latin1', CHECKSUM.at, CHECKSUM.at + CHECKSUM.bytes))?.[1];
  if (stored === undefined || Number.parseInt(stored, 8) !== checksumOf(block) || text(MAGIC) !== 'ustar') {
    throw damagedArchive('a header does not match its checksum, or it is no tar archive');
  }
  const size = /^[0-7]{11}[\0 ]$/.exec(block.toString('latin1', SIZE.at, SIZE.at + SIZE.bytes))?.[0];
  if (size === undefined) throw damagedArchive('a header does not tell the size of its file');
  const prefix = text(PREFIX);
  return {
    type: text(TYPE),
    path: prefix === '' ? text(NAME) : `${prefix}/${text(NAME)}`,
    sizeBytes: Number.parseInt(size, 8),
  };
}

function kindOf(type: string): TarEntry['kind'] {
  // Nothing is a file, too: the format before ustar.
  if (type === '0' || type === '') return 'file';
  return type === '5' ? 'folder' : 'other';
}

function readPax(bytes: Buffer): ReadonlyMap<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const head = /^([1-9]\d{0,5}) ([^=\n]+)=/.exec(bytes.toString('latin1', at, at + 200));
    const end = at + Number(head?.[1] ?? Number.NaN);
    const valueAt = at + (head?.[0].length ?? 0);
    if (head?.[2] === undefined || !(end <= bytes.length && valueAt < end) || bytes[end - 1] !== 0x0a) {
      throw damagedArchive('one of its extended headers is broken');
    }
    records.set(head[2], bytes.toString('utf8', valueAt, end - 1));
    at = end;
  }
  return records;
}

function sizeIn(extended: ReadonlyMap<string, string>): number | undefined {
  const text = extended.get('size');
  if (text === undefined) return undefined;
  const size = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(size))
    throw damagedArchive('a header does not tell the size of its file');
  return size;
}

/** Gives a stream's bytes in pieces of at most the length asked for; undefined at the end. */
function pieces(bytes: AsyncIterable<Uint8Array>) {
  const iterator = bytes[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  return {
    async next(most: number): Promise<Uint8Array | undefined> {
      while (rest.length === 0) {
        const { value, done } = await iterator.next();
        if (done === true) return undefined;
        rest = value;
      }
      const piece = rest.subarray(0, most);
      rest = rest.subarray(piece.length);
      return piece;
    },
    close: async () => {
      await iterator.return?.();
    },
  };
}
