import { join } from 'node:path';
import { InspectionError } from '../errors.ts';
import { type Download, type Downloaded, downloadFile } from './download.ts';
import { knownDownload, knownDownloadsName, rememberDownload } from './known_downloads.ts';
import { type PublishedWeights, weightsUrl } from './published_weights.ts';

/** Which weights, and how to get at them. */
export interface WeightsDownload extends Pick<Download, 'proxies' | 'signal' | 'onProgress' | 'timing'> {
  readonly weights: PublishedWeights;
  readonly modelsDir: string;
  /** As in {@link weightsUrl}. */
  readonly mirror?: string;
  /** Where the file goes; in the weights' folder below `<modelsDir>/extractors` if not given. */
  readonly target?: string;
  /** The present, for the record. */
  readonly now: Date;
}

export interface DownloadedWeights extends Downloaded {
  readonly path: string;
  /** Null when this was the first download, whose hash is recorded now; else when that was (ISO 8601, UTC). */
  readonly sameAsUtc: string | null;
}

/**
 * Downloads published weights. The hash of the first download is recorded (`extractors/known_downloads.json`), whichever
 * mirror it came from; later ones must have the same.
 *
 * @throws InspectionError as {@link downloadFile}; `download_changed` when the file is not the one downloaded first:
 *   what lies under the target's name stays; `damaged_file` when the record cannot be read
 */
export async function downloadWeights(wish: WeightsDownload): Promise<DownloadedWeights> {
  const { weights, modelsDir, mirror, now, ...rest } = wish;
  const target = wish.target ?? join(modelsDir, 'extractors', weights.folder, weights.fileName);
  const known = await knownDownload(modelsDir, weights.path);
  const downloaded = await downloadFile({
    ...rest,
    url: weightsUrl(weights, mirror),
    target,
    refuseHtml: true,
    ...(known !== undefined && { expectedSha256: known.sha256 }),
  }).catch((error: unknown) => {
    throw known !== undefined && error instanceof InspectionError && error.code === 'download_changed'
      ? changedSince(known.firstDownloadedAtUtc, weights, error)
      : error;
  });
  if (known === undefined) {
    const { sha256, bytes } = downloaded;
    await rememberDownload(modelsDir, weights.path, { sha256, bytes, firstDownloadedAtUtc: now.toISOString() });
  }
  return { ...downloaded, path: target, sameAsUtc: known?.firstDownloadedAtUtc ?? null };
}

function changedSince(firstUtc: string, { name, path, page }: PublishedWeights, cause: InspectionError) {
  return new InspectionError(
    'download_changed',
    `${cause.message} That is what ${name} was when it was first downloaded (${firstUtc}): the publisher has replaced it, or a mirror or somebody on the way changed it. ` +
      `Compare with ${page}; to accept the new file, delete the entry '${path}' from extractors/${knownDownloadsName} in the models folder and start again. Models fitted with the old file must then be fitted again.`,
    { cause },
  );
}
