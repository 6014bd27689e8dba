import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { explanationText } from '../inspection/explain.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { heatmapFiles } from './heatmap_files.ts';
import { type InspectedPicture, type PlaceOptions, scaleFor, withInspector } from './inspector.ts';
import { pictureFault, picturePaths, readPicture } from './pictures.ts';
import { exitCodes, type ModelOptions, modelKeyOf, positiveNumber, tell, withModelOptions } from './program.ts';
import { createProgress } from './progress.ts';

interface InferOptions extends ModelOptions, PlaceOptions {
  readonly mmPerPx?: number;
  readonly shape?: string;
  readonly json?: boolean;
  readonly explain?: boolean;
  readonly heatmapDir?: string;
}

/** `okng infer`: pictures become scores and verdicts, each printed as soon as it is there. */
export function inferCommand(cli: Command): Command {
  return withModelOptions(cli.command('infer'))
    .description('Inspect pictures: score, verdict, defect regions. A bad file is told on stderr, the others go on.')
    .argument('<paths...>', 'picture files, or folders of them')
    .option('--mm-per-px <n>', "millimetres per pixel (default: the recipe's value)", positiveNumber)
    .option('--shape <json>', 'ROI in the pictures, as in POST /infer')
    .option('--json', 'print one JSON object per picture and line')
    .option('--explain', 'say which good picture came nearest to the largest regions')
    .option(
      '--heatmap-dir <dir>',
      'write each heatmap there as <picture>_heatmap.png, such as 01.jpg_heatmap.png; in sub-folders, as the pictures ' +
        'lie below the deepest folder that holds them all',
    )
    .action(async (paths: readonly string[], options: InferOptions) => {
      await withInspector(options, async (inspector, signal) => {
        const shape = parseShapeText(options.shape ?? '');
        const mmPerPx = await scaleFor(inspector, options);
        let failed = false;
        /** Does the work of one path; what is wrong with it is told by name. */
        const goingOn = async <T>(path: string, work: () => Promise<T>): Promise<T | null> => {
          try {
            return await work();
          } catch (error) {
            const fault = pictureFault(path, error);
            failed = true;
            progress?.end();
            tell(fault);
            return null;
          }
        };

        let progress: ReturnType<typeof createProgress> | null = null;
        const files: string[] = [];
        for (const path of paths) files.push(...((await goingOn(path, () => picturePaths([path]))) ?? []));
        const heatmaps = options.heatmapDir === undefined ? null : heatmapFiles(options.heatmapDir, files);
        if (options.json !== true && files.length > 1) progress = createProgress();
        const verdicts: InspectedPicture['decision'][] = [];
        try {
          for (const [index, file] of files.entries()) {
            const inspection = await goingOn(file, async () =>
              inspector.inspect(
                {
                  key: modelKeyOf(options),
                  mmPerPx,
                  picture: await readPicture(file),
                  shape,
                  includeHeatmap: heatmaps !== null,
                  explain: options.explain === true,
                },
                signal,
              ),
            );
            if (inspection !== null) {
              verdicts.push(inspection.decision);
              progress?.end();
              process.stdout.write(
                `${options.json === true ? jsonRow(file, inspection) : textRow(file, inspection)}\n`,
              );
              const heatmap = heatmaps?.get(file);
              if (heatmap !== undefined && inspection.heatmapPng !== null) {
                await mkdir(dirname(heatmap), { recursive: true });
                await writeFile(heatmap, inspection.heatmapPng);
              }
            }
            progress?.update('pictures', index + 1, files.length);
          }
        } finally {
          progress?.end();
        }
        if (failed) return exitCodes.failed;
        if (verdicts.includes('ng')) return exitCodes.ng;
        return verdicts.includes(null) ? exitCodes.noVerdict : exitCodes.done;
      });
    });
}

function textRow(file: string, { verdict: judged, score, threshold, regions, explanations }: InspectedPicture): string {
  const verdict = judged === null ? '?   ' : judged.toUpperCase().padEnd(4);
  const limit = threshold === null ? 'not calibrated' : `threshold ${threshold.toFixed(4)}`;
  const found = regions
    .slice(0, 3)
    .map(({ x, y, w, h, areaMm2 }) => `${areaMm2.toFixed(2)} mm² at ${x},${y} ${w}×${h}`)
    .join('; ');
  const why = explanations.map((one) => `\n     ${explanationText(one)}`).join('');
  return `${verdict} ${score.toFixed(4)}  ${limit}  ${file}${found === '' ? '' : `  [${found}]`}${why}`;
}

function jsonRow(
  file: string,
  { decision, verdict, score, threshold, regions, explanations, params }: InspectedPicture,
): string {
  return JSON.stringify({
    file,
    score,
    threshold,
    decision,
    verdict,
    ...(explanations.length > 0 && { explanations }),
    regions: regions.map(({ bbox, areaPx, areaMm2 }) => ({ bbox, area_px: areaPx, area_mm2: areaMm2 })),
    params,
  });
}
