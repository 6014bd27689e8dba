import { basename, join } from 'node:path';
import { decodeGeneration, type GenerationRecord } from '../store/generation_file.ts';
import { readBeside } from '../store/generations.ts';
import { readModelMemory, type StoredMemory } from '../store/model_memory.ts';
import { createModelStore, inspectIndex } from '../store/model_store.ts';
import { type ModelPlace, modelPlace } from '../store/places.ts';
import { sha256Hex } from '../store/sha256.ts';
import { damagedFile, fileStamp, readStoredFile } from '../store/stored_file.ts';
import type { StoredFile } from '../store/stored_places.ts';
import { type CalibrationState, calibrationState } from './calibration_state.ts';
import { attempt, type Finding, failure, good, warning } from './findings.ts';
import { extractorAdvice, extractorMismatch, extractorsFor, type MatchedExtractor } from './memory_origin.ts';
import type { ScoreRule } from './score_rule.ts';

export interface ExamineModelParts {
  readonly modelsDir: string;
  readonly scoreRule: ScoreRule;
  /** Those that are installed, and the embedded one. */
  readonly extractors: readonly MatchedExtractor[];
  /** The one that the service would run; null when there is none to be had. */
  readonly chosen: MatchedExtractor | null;
}

/** A model that others replace again and again is told as it was last seen. */
const mostLooks = 3;
const notInUse = 'Remove it, unless you know what it is for.';

/**
 * Looks at all files of one model: memory, index, calibration and kept generations. Changes nothing and takes no lock; when the
 * memory is replaced meanwhile it looks again. Holds one memory at a time. Cost: reads every file of the model.
 *
 * @param files of this one model
 */
export async function examineModel(
  parts: ExamineModelParts,
  { segments, base }: NonNullable<StoredFile['model']>,
  files: readonly StoredFile[],
): Promise<readonly Finding[]> {
  const place = modelPlace(parts.modelsDir, segments, base);
  for (let look = 1; ; look++) {
    const stamp = await fileStamp(place.npzPath);
    const findings = [
      ...(stamp === undefined ? await examineWithoutMemory(place, files) : await examineMemory(parts, place)),
      ...(await examineGenerations(parts.modelsDir, files)),
    ];
    if (look === mostLooks || (await fileStamp(place.npzPath)) === stamp) return findings;
  }
}

const indexProblems = {
  was_missing: 'The FAISS index is missing',
  was_damaged: 'The FAISS index is damaged',
  was_different: "The FAISS index is not the memory's",
} as const;

const calibrationWords: Readonly<Record<CalibrationState, string>> = {
  none: 'no calibration',
  valid: 'calibrated',
  stale: 'calibration stale',
};

async function examineMemory(parts: ExamineModelParts, place: ModelPlace): Promise<readonly Finding[]> {
  const file = relative(place, place.npzPath);
  const read = await attempt(() => readModelMemory(place.npzPath));
  if ('problem' in read) {
    return [
      failure(
        file,
        read.problem,
        'Nothing is needed where a kept generation is good: the service sets this one aside and answers from that. Otherwise fit this role and ROI again, or take it from a backup.',
      ),
      ...(await examineBeside(place)),
    ];
  }
  const memory = read.value;
  const { state, findings: ofCalibration } = await examineCalibration(parts, place, memory);
  const { rows, cols } = memory.bank;
  const index = await attempt(() => inspectIndex(place, memory));
  const ofIndex =
    'problem' in index
      ? [failure(relative(place, place.indexPath), index.problem, 'Give the service the right to read it.')]
      : index.value === 'good'
        ? []
        : [
            warning(
              relative(place, place.indexPath),
              `${indexProblems[index.value]}. No answer depends on it.`,
              'Nothing: the service makes it anew when the model is used next.',
            ),
          ];
  return [
    good(
      file,
      `A memory of ${rows} × ${cols} on a ${memory.grid.rows} × ${memory.grid.cols} grid; ${calibrationWords[state]}.`,
    ),
    ...ofIndex,
    ...ofCalibration,
    ...examineOrigin(parts, file, memory),
  ];
}

async function examineCalibration(
  { modelsDir, scoreRule }: ExamineModelParts,
  place: ModelPlace,
  memory: StoredMemory,
) {
  const file = relative(place, place.calibrationPath);
  const { memoryId, metadata, stamp } = memory;
  const generation = metadata.generation ?? 1;
  const bound = await attempt(() =>
    createModelStore(modelsDir).generations.boundTo(place, { stamp, memoryId, generation }),
  );
  // What is wrong with a generation is told with the generations.
  const calibration = 'problem' in bound ? undefined : bound.value.calibration;
  const described = { memoryId, generation, fingerprint: metadata.fingerprint ?? null };
  const state = calibrationState(calibration, described, scoreRule);
  const findings = await examineBeside(place);
  if (state === 'stale') {
    findings.push(
      warning(
        file,
        'The calibration was made for another memory or another BDI_SCORE_PERCENTILE: nobody is judged by it.',
        'Calibrate this role and ROI again.',
      ),
    );
  }
  return { state, findings };
}

/** Whether the calibration beside the memory can be read. */
async function examineBeside(place: ModelPlace): Promise<Finding[]> {
  const read = await attempt(() => readBeside(place));
  if (!('problem' in read)) return [];
  const advice = 'Calibrate this role and ROI again, or take the file from a backup.';
  return [failure(relative(place, place.calibrationPath), read.problem, advice)];
}

function examineOrigin(
  { extractors, chosen }: ExamineModelParts,
  file: string,
  { bank, grid, metadata }: StoredMemory,
): readonly Finding[] {
  const { fingerprint = null, extractor: extractorName = null } = metadata;
  const maker = { fingerprint, extractorName, cols: bank.cols, grid };
  const fitting = extractorsFor(maker, extractors);
  if (fitting.length === 0) {
    const name = extractorName ?? `one of ${bank.cols} numbers per patch`;
    return [failure(file, `The extractor that it needs is not here: ${name}.`, extractorAdvice(maker, extractors))];
  }
  if (chosen === null || extractorMismatch(maker, chosen) === null) return [];
  const names = fitting.map(({ name }) => name).join(' or ');
  return [
    warning(
      file,
      `It is for the extractor ${names}, and the service would run ${chosen.name}: it cannot answer then.`,
      `Start the service with EXTRACTOR=${fitting[0]?.name}, or fit this role and ROI again.`,
    ),
  ];
}

async function examineWithoutMemory(place: ModelPlace, files: readonly StoredFile[]): Promise<readonly Finding[]> {
  const there = new Set(files.map(({ segments }) => segments.join('/')));
  const index = relative(place, place.indexPath);
  const calibration = relative(place, place.calibrationPath);
  const findings: Finding[] = [];
  if (there.has(index)) findings.push(warning(index, 'A FAISS index without a memory.', notInUse));
  if (there.has(calibration)) {
    const read = await attempt(() => readBeside(place));
    if ('problem' in read) findings.push(failure(calibration, read.problem, 'Calibrate again after the next fit.'));
    else if (read.value?.memory_id === null) {
      findings.push(good(calibration, 'A calibration that waits for its first memory.'));
    } else findings.push(warning(calibration, 'A calibration whose memory is gone.', notInUse));
  }
  const kept = files.find(({ kind }) => kind === 'generation');
  if (kept !== undefined) {
    findings.push(
      warning(
        kept.segments.slice(0, place.segments.length + 2).join('/'),
        'Generations of a model that has no memory now: it cannot answer.',
        'Roll back to one of them (okng models, or POST /models/{role_id}/{roi_id}/rollback), fit again, or remove the folder.',
      ),
    );
  }
  return findings;
}

async function examineGenerations(modelsDir: string, files: readonly StoredFile[]): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const folders = new Map<string, string[]>();
  for (const { kind, model, segments } of files) {
    if (kind !== 'generation' || model === null) continue;
    const depth = model.segments.length + 2;
    const folder = segments.slice(0, depth + 1).join('/');
    folders.set(folder, [...(folders.get(folder) ?? []), segments.slice(depth + 1).join('/')]);
  }
  for (const [folder, names] of folders) {
    const name = basename(folder);
    if (/^[1-9]\d*$/.test(name)) findings.push(...(await examineGeneration(modelsDir, folder, names)));
    else if (name.startsWith('damaged-')) {
      findings.push(
        warning(
          folder,
          'A damaged memory that was set aside.',
          'Look after the disk. Fit again if the generation that answers now is too old, then remove it.',
        ),
      );
    } else findings.push(warning(folder, 'Nothing that okng puts among generations.', notInUse));
  }
  return findings;
}

async function examineGeneration(
  modelsDir: string,
  folder: string,
  names: readonly string[],
): Promise<readonly Finding[]> {
  const path = (suffix: string) => `${folder}/${names.find((name) => name.endsWith(suffix)) ?? `*${suffix}`}`;
  const [recordPath, memoryPath] = [path('.json'), path('.npz')];
  const lost = 'This generation cannot be rolled back to. Take it from a backup, or remove its folder.';
  const record = await attempt(async () => {
    const file = await readStoredFile(join(modelsDir, recordPath));
    if (file === undefined) throw damagedFile(basename(recordPath), 'it is missing');
    return decodeGeneration(file.bytes, basename(recordPath));
  });
  if ('problem' in record) return [failure(recordPath, record.problem, lost)];
  const memory = await attempt(() => compareMemory(join(modelsDir, memoryPath), record.value));
  if ('problem' in memory) return [failure(memoryPath, memory.problem, lost)];
  if (record.value.live_since_utc !== null) return [];
  return [
    warning(folder, 'A generation that never answered: a fit was broken off.', 'Nothing: the next fit removes it.'),
  ];
}

async function compareMemory(path: string, { npz_bytes, npz_sha256 }: GenerationRecord): Promise<void> {
  const file = await readStoredFile(path);
  if (file === undefined) throw damagedFile(basename(path), 'it is missing');
  if (file.bytes.length !== npz_bytes || (await sha256Hex(file.bytes)) !== npz_sha256) {
    throw damagedFile(basename(path), 'it does not match its checksum');
  }
}

function relative({ segments }: ModelPlace, path: string): string {
  return [...segments, basename(path)].join('/');
}
