import { join } from 'node:path';
import { decodeSampleMeta, fingerprintIn } from '../store/sample_meta.ts';
import { sha256HexNow } from '../store/sha256.ts';
import { fileFacts, readStoredFile } from '../store/stored_file.ts';
import { metaPathOf, type StoredFile } from '../store/stored_places.ts';
import { attempt, type Finding, failure, good, warning } from './findings.ts';

export interface ExamineSamplesParts {
  readonly modelsDir: string;
  /** Proves that bytes are a picture. @throws InspectionError */
  readonly prove: (bytes: Uint8Array, name: string) => Promise<unknown>;
  readonly nowMs: number;
  /** A meta that is younger may wait for its picture. */
  readonly staleMs: number;
}

/**
 * Looks at the samples of one role, ROI and label. Reads every meta; every picture, too, when `deep`.
 *
 * @param files pictures and metas of one folder
 */
export async function examineSamples(
  { modelsDir, prove, nowMs, staleMs }: ExamineSamplesParts,
  files: readonly StoredFile[],
  deep: boolean,
): Promise<readonly Finding[]> {
  const pictures = files.filter(({ kind }) => kind === 'picture');
  const metas = new Set(files.filter(({ kind }) => kind === 'meta').map(pathOf));
  const described = new Set(pictures.map(metaPathOf));
  const folder = (files[0] as StoredFile).segments.slice(0, -1).join('/');
  const findings: Finding[] = [];
  if (pictures.length > 0) findings.push(good(folder, `${pictures.length} pictures.`));

  const without = pictures.filter((picture) => !metas.has(metaPathOf(picture)));
  if (without.length > 0) {
    findings.push(
      warning(
        folder,
        `${without.length} pictures without a meta, such as ${without[0]?.segments.at(-1)}: the whole picture counts as the part, at the recipe's scale.`,
        'Upload them again where they need a ROI; else nothing.',
      ),
    );
  }
  const hashes = new Map<string, string>();
  for (const meta of metas) {
    if (!described.has(meta)) {
      const facts = await fileFacts(join(modelsDir, meta));
      if (facts !== undefined && nowMs - facts.modifiedAtMs >= staleMs)
        findings.push(
          warning(meta, 'A meta without a picture.', 'Remove it; the service removes those of its own uploads.'),
        );
      continue;
    }
    const read = await attempt(async () => {
      const file = await readStoredFile(join(modelsDir, meta));
      return file && fingerprintIn(decodeSampleMeta(file.bytes, meta.split('/').at(-1) as string));
    });
    if ('problem' in read) {
      findings.push(
        failure(
          meta,
          read.problem,
          'Until then the whole picture counts as the part: take it from a backup, or upload the picture again.',
        ),
      );
    } else if (read.value !== undefined) hashes.set(meta, read.value.sha256);
  }
  if (!deep) return findings;
  for (const picture of pictures) {
    const problem = await provePicture(picture);
    if (problem !== null) {
      findings.push(
        failure(pathOf(picture), problem, 'Take it from a backup, or delete the sample (DELETE /datasets/file).'),
      );
    }
  }
  return findings;

  async function provePicture(picture: StoredFile): Promise<string | null> {
    const read = await attempt(() => readStoredFile(join(modelsDir, ...picture.segments)));
    if ('problem' in read) return read.problem;
    // Deleted since it was listed.
    if (read.value === undefined) return null;
    const { bytes } = read.value;
    const expected = hashes.get(metaPathOf(picture));
    const isShared = pictures.some((other) => other !== picture && metaPathOf(other) === metaPathOf(picture));
    if (expected !== undefined && !isShared && sha256HexNow(bytes) !== expected) {
      return 'It is not the picture that was uploaded: its SHA-256 is another one than in its meta.';
    }
    const proven = await attempt(() => prove(bytes, picture.segments.at(-1) as string));
    return 'problem' in proven ? proven.problem : null;
  }
}

function pathOf({ segments }: StoredFile): string {
  return segments.join('/');
}
