import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelCard } from '../extractors/model_card.ts';
import { TEMP_PREFIX } from '../store/atomic_write.ts';
import { diskFloor, type FreeBytes } from '../store/disk_floor.ts';
import { lockTiming } from '../store/model_lock.ts';
import { decodeRecipe, RECIPE_FILE } from '../store/recipe_file.ts';
import { fileFacts, readStoredFile, realFolder } from '../store/stored_file.ts';
import { entriesBelow, type FoundEntry, type StoredFile } from '../store/stored_places.ts';
import { examineJobs } from './examine_jobs.ts';
import { type ExamineModelParts, examineModel } from './examine_model.ts';
import { type ExamineSamplesParts, examineSamples } from './examine_samples.ts';
import { attempt, type Finding, failure, good, warning } from './findings.ts';

export interface ExamineFolderParts extends ExamineModelParts, ExamineSamplesParts {
  /** Cards with their model files. */
  readonly installed: readonly ModelCard[];
  /** Cards that are of no use, and why. */
  readonly unusable: readonly { readonly folder: string; readonly problem: string }[];
  /** Why the service would find no extractor to run; null: it would. */
  readonly noExtractor: string | null;
  /** Reads a whole model file and compares it with its card. @throws InspectionError */
  readonly verify: (card: ModelCard) => Promise<void>;
  /** Reads all of the audit. */
  readonly examineAudit: () => Promise<readonly Finding[]>;
  readonly mayRead: (path: string) => Promise<boolean>;
  readonly mayWrite: (path: string) => Promise<boolean>;
  readonly minFreeBytes: number;
  readonly freeBytes?: FreeBytes;
}

export interface ExamineFolderRequest {
  /** Whether pictures are decoded and model files of extractors compared with their hashes. */
  readonly deep: boolean;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

export interface Examination {
  readonly findings: readonly Finding[];
  readonly errors: number;
  readonly warnings: number;
}

/**
 * Looks at everything in a models folder and says what is wrong and what to do. Changes nothing, and may run beside a
 * service; what that one is changing at the moment is looked at again, or passed over while it is young.
 *
 * Cost: reads every model with its generations, every meta, every job's record and all of the audit; with `deep` every
 * picture and every extractor.
 */
export async function examineFolder(
  parts: ExamineFolderParts,
  { deep, onProgress = () => undefined }: ExamineFolderRequest,
): Promise<Examination> {
  const { modelsDir } = parts;
  const findings: Finding[] = [];
  if ((await realFolder(modelsDir, [])) === undefined) {
    findings.push(
      failure(
        '.',
        'There is no models folder.',
        'Name the right one (BDI_MODELS_DIR, --models-dir), or start the service: it makes one.',
      ),
    );
    return summed(findings);
  }
  findings.push(...(await examineRights(parts, '.', true)));
  const files: StoredFile[] = [];
  for await (const entry of entriesBelow(modelsDir)) {
    if (entry.is === 'stored') files.push(entry.file);
    findings.push(...(await examineEntry(parts, entry)));
  }

  findings.push(...(await examineExtractors(parts, deep)));
  const models = grouped(files, ({ model }) => model && [...model.segments, model.base].join('/'));
  for (const [done, ofModel] of models.entries()) {
    onProgress('models', done, models.length);
    const [first] = ofModel as [StoredFile];
    if (first.model !== null) findings.push(...(await examineModel(parts, first.model, ofModel)));
  }
  for (const { kind, segments } of files) {
    if (kind === 'recipe') findings.push(...(await examineRecipe(modelsDir, segments.join('/'))));
  }
  const isSample = ({ kind }: StoredFile) => kind === 'picture' || kind === 'meta';
  const datasets = grouped(files, (file) => (isSample(file) ? file.segments.slice(0, -1).join('/') : null));
  for (const [done, samples] of datasets.entries()) {
    onProgress('datasets', done, datasets.length);
    findings.push(...(await examineSamples(parts, samples, deep)));
  }
  if (files.some(({ kind }) => kind === 'job')) findings.push(...(await examineJobs(modelsDir)));
  if (files.some(({ kind }) => kind === 'audit')) {
    onProgress('audit', 0, 1);
    findings.push(...(await parts.examineAudit()));
  }
  findings.push(...(await examineSpace(parts, models)));
  return summed(findings);
}

function summed(findings: readonly Finding[]): Examination {
  const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
  return { findings, errors: count('error'), warnings: count('warning') };
}

/** Files of one key beside each other; those without a key are left out. */
function grouped(
  files: readonly StoredFile[],
  keyOf: (file: StoredFile) => string | null,
): readonly (readonly StoredFile[])[] {
  const groups = new Map<string, StoredFile[]>();
  for (const file of files) {
    const key = keyOf(file);
    if (key === null) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [file]);
    else group.push(file);
  }
  return [...groups.values()];
}

async function examineEntry(parts: ExamineFolderParts, entry: FoundEntry): Promise<readonly Finding[]> {
  const { path } = entry;
  switch (entry.is) {
    case 'stored':
      return await examineRights(parts, path, false);
    case 'folder':
      return await examineRights(parts, path, true);
    case 'temp':
      return await examineTemp(parts, path);
    case 'special':
      return [
        warning(path, 'A link or a special file. Links are not followed.', 'Put the folder or file itself here.'),
      ];
    case 'unknown':
      return [warning(path, "Nothing of okng's.", 'Move it elsewhere, unless you know what it is for.')];
  }
}

async function examineRights(
  { modelsDir, mayRead, mayWrite }: ExamineFolderParts,
  path: string,
  isFolder: boolean,
): Promise<readonly Finding[]> {
  const full = join(modelsDir, path);
  const advice = 'Give it to the user who runs the service (chown, chmod).';
  if (!(await mayRead(full))) return [failure(path, 'This user may not read it.', advice)];
  if (isFolder && !(await mayWrite(full))) return [failure(path, 'This user may not write in it.', advice)];
  return [];
}

async function examineTemp(
  { modelsDir, nowMs, staleMs }: ExamineFolderParts,
  path: string,
): Promise<readonly Finding[]> {
  const isLock = path.split('/').at(-1)?.startsWith(`${TEMP_PREFIX}lock-`) === true;
  const ageMs = nowMs - ((await lstat(join(modelsDir, path)).catch(() => null))?.mtimeMs ?? nowMs);
  if (ageMs < (isLock ? lockTiming.expiryMs : staleMs)) return [];
  return [
    warning(
      path,
      isLock
        ? 'The lock of a process that has ended.'
        : 'Left by a process that was ended while it wrote or removed something.',
      isLock ? 'Nothing: whoever changes the model next takes it over.' : 'Nothing: a running service removes it.',
    ),
  ];
}

async function examineRecipe(modelsDir: string, path: string): Promise<readonly Finding[]> {
  const read = await attempt(async () => {
    const file = await readStoredFile(join(modelsDir, path));
    return file && decodeRecipe(file.bytes, RECIPE_FILE);
  });
  if ('value' in read) return [];
  return [
    failure(path, read.problem, 'Set the scale again (PUT /recipes/{recipe_id}), or take the file from a backup.'),
  ];
}

async function examineExtractors(
  { installed, unusable, noExtractor, verify }: ExamineFolderParts,
  deep: boolean,
): Promise<readonly Finding[]> {
  const findings: Finding[] = unusable.map(({ folder, problem }) =>
    warning(`extractors/${folder}`, problem, 'Install it again (okng model add), or remove its folder.'),
  );
  for (const card of installed) {
    const place = `extractors/${card.name}`;
    const verified = await attempt(() => (deep ? verify(card) : undefined));
    if ('problem' in verified) {
      findings.push(failure(place, verified.problem, 'Install it again (okng model add --replace).'));
    } else findings.push(good(place, deep ? 'Installed; its file is the one of its card.' : 'Installed.'));
  }
  if (noExtractor !== null) {
    findings.push(
      failure('extractors', noExtractor, 'The service does not start like this: install it, or change EXTRACTOR.'),
    );
  }
  return findings;
}

/** A fit writes the new memory and its index beside the old ones. */
async function examineSpace(
  { modelsDir, minFreeBytes, freeBytes }: ExamineFolderParts,
  models: readonly (readonly StoredFile[])[],
): Promise<readonly Finding[]> {
  const shortage = await diskFloor(modelsDir, minFreeBytes, freeBytes).shortage();
  if (shortage !== null) return [failure('.', shortage, 'Free some space, or set BDI_MIN_FREE_MIB lower.')];
  let fitBytes = 0;
  for (const files of models) {
    const live = files.filter(({ kind }) => kind === 'model');
    const sizes = await Promise.all(live.map(({ segments }) => fileFacts(join(modelsDir, ...segments))));
    fitBytes = Math.max(
      fitBytes,
      sizes.reduce((sum, facts) => sum + (facts?.sizeBytes ?? 0), 0),
    );
  }
  const missing = await diskFloor(modelsDir, minFreeBytes + fitBytes, freeBytes).shortage();
  if (missing === null) return [];
  return [
    warning(
      '.',
      `The next fit of the largest model writes ${Math.ceil(fitBytes / 1024 ** 2)} MiB, and then less would be free than BDI_MIN_FREE_MIB asks for.`,
      'Free some space.',
    ),
  ];
}
