import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { AUDIT_FOLDER } from '../audit/audit_files.ts';
import { type AuditReport, verifyAudit } from '../audit/verify_audit.ts';
import { loadConfig } from '../config.ts';
import { InspectionError } from '../errors.ts';
import { endWith, exitCodes } from './program.ts';

interface VerifyOptions {
  readonly modelsDir?: string;
  readonly head: readonly string[];
  readonly json?: boolean;
}

/** `okng audit`: the lines of verdicts and changes. */
export function auditCommand(cli: Command): Command {
  const audit = cli.command('audit').description('Look after the audit of verdicts and changes (BDI_AUDIT).');
  audit
    .command('verify')
    .description(
      'Find lines that were changed, removed, put in or moved, and files that are gone. Exit code 1 when there is one.',
    )
    .argument('[dirs...]', 'models folders or folders of audit files, old ones included (default: BDI_MODELS_DIR)')
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)')
    .option('--head <hash>', 'a hash that was kept: its line must be there; several times for several', hashes, [])
    .option('--json', 'print the result as JSON')
    .action(async (dirs: readonly string[], options: VerifyOptions) => {
      await endWith(async () => {
        const report = await verifyAudit(await foldersOf(dirs, options), options.head);
        if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
        else for (const line of reportLines(report)) process.stdout.write(`${line}\n`);
        return report.found === 0 ? exitCodes.done : exitCodes.failed;
      });
    });
  return audit;
}

/** @throws InspectionError `not_found`: a folder that is not there must not pass for a good one */
async function foldersOf(dirs: readonly string[], { modelsDir }: VerifyOptions): Promise<readonly string[]> {
  const named = dirs.length > 0 && modelsDir === undefined ? dirs : [...dirs, modelsDirOf(modelsDir)];
  return await Promise.all(
    named.map(async (dir) => {
      if (await isFolder(join(dir, AUDIT_FOLDER))) return join(dir, AUDIT_FOLDER);
      if (await isFolder(dir)) return dir;
      throw new InspectionError('not_found', `There is no folder ${dir}.`);
    }),
  );
}

function modelsDirOf(modelsDir: string | undefined): string {
  return loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir }).modelsDir;
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function hashes(text: string, earlier: readonly string[]): readonly string[] {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError('It must be the 64 hexadecimal digits of a hash.');
  return [...earlier, text];
}

function reportLines({ lines, kinds, chains, found, findings, notes }: AuditReport): readonly string[] {
  const counts = Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`);
  const untold = found - findings.length;
  return [
    ...findings.map(({ problem, file, line, text }) => `${problem.toUpperCase()} ${placeText(file, line)}${text}`),
    ...(untold > 0 ? [`… and ${untold} more.`] : []),
    ...notes.map(({ file, text }) => `Note: ${file}: ${text}`),
    ...chains.map(
      ({ chain, files, lines: length, head, stopped }) =>
        `Chain ${chain}: files ${files}, lines ${length}, ${stopped ? 'stopped' : 'open'}; head ${head.hash}`,
    ),
    `Lines: ${lines}${counts.length === 0 ? '' : ` (${counts.join(', ')})`}. ${found === 0 ? 'All of them are as they were written.' : `Found: ${found}.`}`,
  ];
}

function placeText(file: string, line: number | null): string {
  if (file === '') return '';
  return line === null ? `${file}: ` : `${file}, line ${line}: `;
}
