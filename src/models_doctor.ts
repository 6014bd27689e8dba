import { access, constants } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { examineAudit } from './audit/examine_audit.ts';
import type { Config } from './config.ts';
import { InspectionError } from './errors.ts';
import { embeddedExtractorInfo } from './extractors/embedded/embedded_extractor.ts';
import { chooseExtractor, listInstalledExtractors } from './extractors/installed_extractors.ts';
import { describeModelCard, missingWeights, verifyModelFile } from './extractors/model_card.ts';
import { decodeImage } from './images/decode.ts';
import { type Examination, type ExamineFolderRequest, examineFolder } from './inspection/examine_folder.ts';
import { staleTempMs } from './service.ts';

export type { Examination } from './inspection/examine_folder.ts';

/** What `okng doctor` does: wires extractors and pictures, as `service.ts` does for the service. No network is loaded. */
export async function examineModelsFolder(config: Config, request: ExamineFolderRequest): Promise<Examination> {
  const { modelsDir, extractor: wanted, inputSize, maxPixels, minFreeBytes, scoreMode, scorePercentile } = config;
  const { installed, withoutWeights, broken } = await listInstalledExtractors(modelsDir);
  const choice = await chooseExtractor({
    modelsDir,
    ...(wanted !== null && { wanted }),
    ...(inputSize !== null && { inputSize }),
  }).catch((error: unknown) => {
    if (error instanceof InspectionError) return error;
    throw error;
  });
  const chosen = choice instanceof InspectionError ? null : choice.info;
  const cards = [embeddedExtractorInfo(), ...installed.map(({ card }) => describeModelCard(card))];
  return await examineFolder(
    {
      modelsDir,
      scoreRule: { k: 1, mode: scoreMode, percentile: scorePercentile, sigmaPx: 1 },
      // With another input size than its card's the chosen one is another one.
      extractors:
        chosen === null ? cards : [chosen, ...cards.filter(({ fingerprint }) => fingerprint !== chosen.fingerprint)],
      chosen,
      noExtractor: choice instanceof InspectionError ? choice.message : null,
      installed: installed.map(({ card }) => card),
      unusable: [
        ...withoutWeights.map(({ cardPath, card }) => ({
          folder: basename(dirname(cardPath)),
          problem: missingWeights(card),
        })),
        ...broken.map(({ folder, problem }) => ({ folder, problem: problem.message })),
      ],
      verify: verifyModelFile,
      examineAudit: () => examineAudit(modelsDir),
      prove: (bytes, name) => decodeImage(bytes, { name, maxPixels }),
      mayRead: (path) => may(path, constants.R_OK),
      mayWrite: (path) => may(path, constants.W_OK | constants.X_OK),
      minFreeBytes,
      nowMs: Date.now(),
      staleMs: staleTempMs,
    },
    request,
  );
}

async function may(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    // Removed since it was listed: nothing is wrong with its rights.
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}
