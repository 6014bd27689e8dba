import type { Config } from './config.ts';
import { embeddedExtractorInfo } from './extractors/embedded/embedded_extractor.ts';
import { listInstalledExtractors } from './extractors/installed_extractors.ts';
import { describeModelCard } from './extractors/model_card.ts';
import { decodeImage } from './images/decode.ts';
import { type ImportReport, type ImportRequest, importModels } from './inspection/import_models.ts';

/** What `okng import` does: wires extractors and pictures, as `service.ts` does for the service. No network is loaded. */
export async function importFolder(
  { modelsDir, maxPixels }: Pick<Config, 'modelsDir' | 'maxPixels'>,
  request: ImportRequest,
): Promise<ImportReport> {
  const { installed } = await listInstalledExtractors(modelsDir);
  return await importModels(
    {
      modelsDir,
      extractors: [embeddedExtractorInfo(), ...installed.map(({ card }) => describeModelCard(card))],
      prove: (bytes, name) => decodeImage(bytes, { name, maxPixels }),
    },
    request,
  );
}
