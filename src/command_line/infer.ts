import { mkdir, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { InspectionError } from '../errors.ts';
import type { Inspection } from '../inspection/inspect_image.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { picturePaths, readPicture } from './pictures.ts';
import { exitCodes, type ModelOptions, modelKeyOf, positiveNumber, withModelOptions, withService } from './program.ts';
import { createProgress } from './progress.ts';

interface InferOptions extends ModelOptions {
  readonly mmPerPx?: number;
  readonly shape?: string;
  readonly json?: boolean;
  readonly heatmapDir?: string;
  readonly modelsDir?: string;
}

/** `okng infer`: pictures become scores and verdicts. */
export function inferCommand(cli: Command): Command {
  return withModelOptions(cli.command('infer'))
    .description('Inspect pictures: score, verdict, defect regions.')
    .argument('<paths...>', 'picture files, or folders of them')
    .option('--mm-per-px <n>', "millimetres per pixel (default: the recipe's value)", positiveNumber)
    .option('--shape <json>', 'ROI in the pictures, as in POST /infer')
    .option('--json', 'print one JSON object per picture and line')
    .option('--heatmap-dir <dir>', 'write each heatmap there as <picture>_heatmap.png')
    .action(async (paths: readonly string[], options: InferOptions) => {
      await withService(options, async (service) => {
        const shape = parseShapeText(options.shape ?? '');
        const mmPerPx = options.mmPerPx ?? (await service.scaleOf(options.recipe));
        if (mmPerPx === null) {
          throw new InspectionError(
            'missing_field',
            `Recipe ${JSON.stringify(options.recipe)} has no mm_per_px yet; give --mm-per-px.`,
          );
        }
        if (options.heatmapDir !== undefined) await mkdir(options.heatmapDir, { recursive: true });
        const files = await picturePaths(paths);
        const progress = options.json === true || files.length < 2 ? null : createProgress();
        const verdicts: Inspection['decision'][] = [];
        const rows: string[] = [];
        for (const [index, file] of files.entries()) {
          const inspection = await service.inspect({
            key: modelKeyOf(options),
            mmPerPx,
            picture: await readPicture(file),
            shape,
            includeHeatmap: options.heatmapDir !== undefined,
          });
          verdicts.push(inspection.decision);
          if (options.heatmapDir !== undefined && inspection.heatmapPng !== null) {
            await writeFile(
              join(options.heatmapDir, `${basename(file, extname(file))}_heatmap.png`),
              inspection.heatmapPng,
            );
          }
          const row = options.json === true ? jsonRow(file, inspection) : textRow(file, inspection);
          // On a terminal rows and the bar would run into each other, so rows wait for its end.
          if (progress === null) process.stdout.write(`${row}\n`);
          else rows.push(row);
          progress?.update('pictures', index + 1, files.length);
        }
        progress?.end();
        for (const row of rows) process.stdout.write(`${row}\n`);
        if (verdicts.includes('ng')) return exitCodes.ng;
        return verdicts.includes(null) ? exitCodes.noVerdict : exitCodes.done;
      });
    });
}

function textRow(file: string, { decision, score, threshold, regions }: Inspection): string {
  const verdict = decision === null ? '?   ' : decision.toUpperCase().padEnd(4);
  const limit = threshold === null ? 'not calibrated' : `threshold ${threshold.toFixed(4)}`;
  const found = regions
    .slice(0, 3)
    .map(({ x, y, w, h, areaMm2 }) => `${areaMm2.toFixed(2)} mm² at ${x},${y} ${w}×${h}`)
    .join('; ');
  return `${verdict} ${score.toFixed(4)}  ${limit}  ${file}${found === '' ? '' : `  [${found}]`}`;
}

function jsonRow(file: string, { decision, score, threshold, regions, params }: Inspection): string {
  return JSON.stringify({
    file,
    score,
    threshold,
    decision,
    regions: regions.map(({ bbox, areaPx, areaMm2 }) => ({ bbox, area_px: areaPx, area_mm2: areaMm2 })),
    params,
  });
}
