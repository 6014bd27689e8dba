import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import type { OpenFile } from './open_file.ts';
import { sha256HexNow } from './sha256.ts';
import { type StoredFile, storedFileOf } from './stored_places.ts';
import { damagedArchive, readTar, tarEnd, tarHeader, tarPadding } from './tar.ts';

/**
 * A models folder in one file: a tar archive whose first file tells what it is and whose last one tells path, size and SHA-256
 * of every other. Every byte counts: a header has tar's checksum, a file its hash, all the rest is zeros.
 */

const FORMAT = 'okng backup';
const FORMAT_VERSION = 1;
const HEADER_FILE = 'okng_backup.json';
const MANIFEST_FILE = 'okng_manifest.json';
const MOST_HEADER_BYTES = 64 * 1024;
/** What both ends hold of each file takes about 500 bytes. */
export const mostArchivedFiles = 1_000_000;
const MOST_MANIFEST_BYTES = 512 * mostArchivedFiles;

/** When and by whom an archive was made. */
export interface ArchiveOrigin {
  readonly created_at_utc: string;
  readonly okng_version: string;
}

/** One line of the manifest. */
export interface ArchivedFile {
  /** Below the models folder, with `/`. */
  readonly path: string;
  readonly size_bytes: number;
  readonly sha256: string;
  readonly modified_at_ms: number;
}

export interface ArchiveContents {
  readonly origin: ArchiveOrigin;
  /** In the order of the archive. */
  readonly files: readonly ArchivedFile[];
}

export interface ArchiveWriter {
  /** @throws InspectionError `invalid_value` past {@link mostArchivedFiles}; as {@link OpenFile.content} */
  add(path: string, file: OpenFile): Promise<void>;
  /** Writes what an archive ends with. Without it, it is cut off. */
  end(): Promise<void>;
}

const headerSchema = z.looseObject({
  format: z.literal(FORMAT),
  format_version: z.int(),
  created_at_utc: z.string(),
  okng_version: z.string(),
});

const manifestSchema = z.strictObject({
  files: z.array(
    z.strictObject({
      path: z.string(),
      size_bytes: z.int().nonnegative(),
      sha256: z.string(),
      modified_at_ms: z.number().nonnegative(),
    }),
  ),
  checksum: z.string(),
});

/** @param write takes all of the bytes before it returns */
export async function beginArchive(
  write: (bytes: Uint8Array) => Promise<void>,
  { created_at_utc, okng_version }: ArchiveOrigin,
): Promise<ArchiveWriter> {
  const files: ArchivedFile[] = [];
  const modifiedAtMs = Date.parse(created_at_utc);

  async function addBytes(path: string, bytes: Uint8Array): Promise<void> {
    await write(tarHeader({ path, sizeBytes: bytes.length, modifiedAtMs }));
    await write(bytes);
    await write(tarPadding(bytes.length));
  }

  const header = { format: FORMAT, format_version: FORMAT_VERSION, created_at_utc, okng_version };
  const headerBytes = jsonBytes(header);
  await addBytes(HEADER_FILE, headerBytes);
  files.push({
    path: HEADER_FILE,
    size_bytes: headerBytes.length,
    sha256: sha256HexNow(headerBytes),
    modified_at_ms: modifiedAtMs,
  });

  return {
    async add(path, file) {
      if (files.length >= mostArchivedFiles) {
        throw new InspectionError(
          'invalid_value',
          `The models folder has more than ${mostArchivedFiles} files, the most that an archive holds. Copy the folder with the service stopped, or clear datasets that are not needed.`,
        );
      }
      const hash = createHash('sha256');
      await write(tarHeader({ path, sizeBytes: file.sizeBytes, modifiedAtMs: file.modifiedAtMs }));
      for await (const piece of file.content()) {
        hash.update(piece);
        await write(piece);
      }
      await write(tarPadding(file.sizeBytes));
      files.push({
        path,
        size_bytes: file.sizeBytes,
        sha256: hash.digest('hex'),
        modified_at_ms: Math.max(0, file.modifiedAtMs),
      });
    },
    async end() {
      await addBytes(MANIFEST_FILE, manifestBytes(files));
      await write(tarEnd);
    },
  };
}

/**
 * Reads a whole archive and compares everything in it with its manifest. Whatever was made of the files by then counts for
 * nothing when it throws.
 *
 * @param bytes pieces that stay as they are
 * @param take is given each file in turn; every path is one that a models folder has, and none comes twice
 * @throws InspectionError `damaged_file`: cut off, changed, not an archive of ours, or of another format version
 */
export async function readArchive(
  bytes: AsyncIterable<Uint8Array>,
  take: (file: StoredFile, content: AsyncIterable<Uint8Array>) => Promise<void> = async () => undefined,
): Promise<ArchiveContents> {
  let origin: ArchiveOrigin | undefined;
  let manifest: readonly ArchivedFile[] | undefined;
  const found = new Map<string, { readonly sizeBytes: number; readonly sha256: string }>();
  for await (const { path, kind, sizeBytes, content } of readTar(bytes)) {
    if (manifest !== undefined) throw damagedArchive(`${quoted(path)} follows its manifest`);
    if (kind !== 'file') throw damagedArchive(`${quoted(path)} is no plain file`);
    if (found.has(path)) throw damagedArchive(`${quoted(path)} is in it twice`);
    const hash = createHash('sha256');
    const hashed = async function* () {
      for await (const piece of content()) {
        hash.update(piece);
        yield piece;
      }
    };
    if (origin === undefined) {
      if (path !== HEADER_FILE) throw damagedArchive(`it does not begin with ${HEADER_FILE}`);
      origin = readHeader(await allOf(hashed(), sizeBytes, MOST_HEADER_BYTES, path));
    } else if (path === MANIFEST_FILE) {
      manifest = readManifest(await allOf(hashed(), sizeBytes, MOST_MANIFEST_BYTES, path));
      continue;
    } else {
      const file = storedFileOf(path);
      if (file === undefined) throw damagedArchive(`a models folder has no place for ${quoted(path)}`);
      if (found.size >= mostArchivedFiles) throw damagedArchive(`it holds more than ${mostArchivedFiles} files`);
      const rest = hashed();
      await take(file, rest);
      for await (const _ of rest);
    }
    found.set(path, { sizeBytes, sha256: hash.digest('hex') });
  }
  if (origin === undefined || manifest === undefined) throw damagedArchive('its manifest is missing');
  for (const { path, size_bytes, sha256 } of manifest) {
    const there = found.get(path);
    if (there === undefined) throw damagedArchive(`${quoted(path)} is missing`);
    if (there.sizeBytes !== size_bytes || there.sha256 !== sha256) throw damagedArchive(`${quoted(path)} was changed`);
    found.delete(path);
  }
  const [unknown] = found.keys();
  if (unknown !== undefined) throw damagedArchive(`${quoted(unknown)} is not in its manifest`);
  return { origin, files: manifest.filter(({ path }) => path !== HEADER_FILE) };
}

function readHeader(bytes: Buffer): ArchiveOrigin {
  const header = headerSchema.safeParse(parsed(bytes));
  if (!header.success) throw damagedArchive(`${HEADER_FILE} does not tell what it is`, header.error);
  const { format_version: version, created_at_utc, okng_version } = header.data;
  if (version === FORMAT_VERSION) return { created_at_utc, okng_version };
  throw new InspectionError(
    'damaged_file',
    `The archive has format version ${version} and was made by okng ${okng_version}; this okng reads version ${FORMAT_VERSION}. Nothing was restored; use the okng that made it.`,
  );
}

/** As it was written, byte by byte: another text with the same content was changed all the same. */
function readManifest(bytes: Buffer): readonly ArchivedFile[] {
  const manifest = manifestSchema.safeParse(parsed(bytes));
  if (!manifest.success) throw damagedArchive('its manifest cannot be read', manifest.error);
  if (!bytes.equals(manifestBytes(manifest.data.files))) throw damagedArchive('its manifest was changed');
  return manifest.data.files;
}

function manifestBytes(files: readonly ArchivedFile[]): Uint8Array {
  const lines = files.map(({ path, size_bytes, sha256, modified_at_ms }) =>
    JSON.stringify({ path, size_bytes, sha256, modified_at_ms }),
  );
  const list = `[\n${lines.join(',\n')}\n]`;
  const checksum = sha256HexNow(list);
  return new TextEncoder().encode(`{"files":${list},\n"checksum":"${checksum}"}\n`);
}

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

async function allOf(content: AsyncIterable<Uint8Array>, sizeBytes: number, most: number, path: string) {
  if (sizeBytes > most) throw damagedArchive(`${path} is longer than ${most} bytes`);
  const parts: Uint8Array[] = [];
  for await (const piece of content) parts.push(piece);
  return Buffer.concat(parts);
}

function quoted(path: string): string {
  return JSON.stringify(path.length > 300 ? `${path.slice(0, 300)}…` : path);
}
