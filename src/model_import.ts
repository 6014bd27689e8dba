import { createAuditLog } from './audit/audit_log.ts';
import { auditedChange } from './audit/audited_change.ts';
import type { Config } from './config.ts';
import { embeddedExtractorInfo } from './extractors/embedded/embedded_extractor.ts';
import { listInstalledExtractors } from './extractors/installed_extractors.ts';
import { describeModelCard } from './extractors/model_card.ts';
import { decodeImage } from './images/decode.ts';
import { type ImportReport, type ImportRequest, importModels } from './inspection/import_models.ts';
import { okngVersion } from './okng_version.ts';

/** What `okng import` does: wires extractors and pictures, as `service.ts` does for the service. No network is loaded. */
export async function importFolder(
  config: Pick<Config, 'modelsDir' | 'maxPixels' | 'audit' | 'auditFileBytes'>,
  request: ImportRequest,
): Promise<ImportReport> {
  const work = () => importUnaudited(config, request);
  if (!config.audit || request.dryRun) return await work();
  const { modelsDir, auditFileBytes: fileBytes } = config;
  const start = { okng_version: okngVersion() };
  // What fails is thrown as well.
  const log = createAuditLog({ modelsDir, fileBytes, start, now: () => new Date(), notify: () => undefined });
  try {
    return await auditedChange(log, 'import', {}, work, importMembers);
  } finally {
    await log.close();
  }
}

function importMembers({ models, scales, datasets, refused }: ImportReport) {
  const came = ({ outcome }: { readonly outcome: string }) => outcome === 'new' || outcome === 'replaced';
  const pictures = datasets.reduce((sum, one) => sum + one.new + one.replaced, 0);
  return { models: models.filter(came).length, scales: scales.filter(came).length, pictures, refused };
}

async function importUnaudited(
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
