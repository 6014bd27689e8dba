import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { InspectionError } from '../errors.ts';
import { endWith, exitCodes, tell } from './program.ts';
import { createProgress } from './progress.ts';

interface BackupOptions {
  readonly extractors?: boolean;
  readonly replace?: boolean;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng backup`: a models folder in one file. */
export function backupCommand(cli: Command): Command {
  return cli
    .command('backup')
    .description(
      'Write all models with their generations, calibrations, datasets, recipes and audit files into one tar archive, while the service runs.',
    )
    .argument('<file>', 'the archive, outside the models folder; - for stdout')
    .option('--extractors', 'installed extractors with their weights as well')
    .option('--replace', 'replace the file if it is there')
    .option('--json', 'print the result as JSON (with -, on stderr)')
    .option('--models-dir <dir>', 'folder of models to back up (BDI_MODELS_DIR)')
    .action(async (file: string, { extractors, replace, json, modelsDir }: BackupOptions) => {
      await endWith(async () => {
        const config = loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir });
        const toStdout = file === '-';
        if (toStdout && process.stdout.isTTY) {
          throw new InspectionError('invalid_value', 'An archive is nothing to look at. Name a file, or pipe it on.');
        }
        // A reader that has ended is told by the write itself.
        process.stdout.on('error', () => undefined);
        const progress = createProgress();
        const stop = new AbortController();
        const abort = () => stop.abort();
        process.once('SIGINT', abort).once('SIGTERM', abort);
        try {
          const { backUpFolder } = await import('../models_upkeep.ts');
          const summary = await backUpFolder(config, {
            to: toStdout ? toStandardOutput : file,
            replace: replace === true,
            withExtractors: extractors === true,
            onProgress: progress.update,
            signal: stop.signal,
          }).finally(() => progress.end());
          const text = json === true ? `${JSON.stringify(summary)}\n` : `${summaryLines(summary).join('\n')}\n`;
          (toStdout ? process.stderr : process.stdout).write(text);
          return exitCodes.done;
        } catch (error) {
          if (!stop.signal.aborted) throw error;
          tell('interrupted; nothing is left of the archive.');
          return exitCodes.interrupted;
        } finally {
          process.off('SIGINT', abort).off('SIGTERM', abort);
        }
      });
    });
}

type Summary = Awaited<ReturnType<typeof import('../models_upkeep.ts').backUpFolder>>;

function summaryLines(summary: Summary): readonly string[] {
  const { models, generations, calibrations, pictures, scales, audit_files, extractor_files, files, bytes } = summary;
  const { extractor_files_left_out: leftOut, removed_meanwhile: removed, passed_over } = summary;
  return [
    `Models: ${models}, with ${generations} kept generations and ${calibrations} calibrations. Pictures: ${pictures}. Scales of recipes: ${scales}. Files of the audit: ${audit_files}. Files of extractors: ${extractor_files}.`,
    ...(leftOut === 0
      ? []
      : [`Left out: ${leftOut} files of extractors, which can be installed again (--extractors takes them along).`]),
    ...(removed === 0 ? [] : [`Removed while the backup was made, and not in it: ${removed} models or pictures.`]),
    ...passed_over.map((path) => `Passed over: ${path} (a link, or nothing of okng's).`),
    `Archive: ${files} files, ${(bytes / 1e6).toFixed(1)} MB.`,
  ];
}

/** Resolves when the bytes are taken, so that no more than them is held. */
function toStandardOutput(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (error == null) resolve();
      else
        reject(
          new InspectionError('storage_unavailable', 'Whoever reads the archive has ended; it is not complete.', {
            cause: error,
          }),
        );
    });
  });
}
