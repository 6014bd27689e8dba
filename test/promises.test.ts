import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** README says which test holds which promise; here it is held to what there is. */

const repository = fileURLToPath(new URL('..', import.meta.url));
const readText = (name: string) => readFileSync(join(repository, name), 'utf8');

const [, page = ''] = /\n## What it promises\n(.*?)\n## /s.exec(readText('README.md')) ?? [];
const rows = [...page.matchAll(/^\| (.*?) +\| (.*?) +\|$/gm)].slice(2).map(([, promise = '', tests = '']) => ({
  promise,
  named: [...tests.matchAll(/`(.*?)`/g)].map(([, name = '']) => name),
}));
const scripts = (JSON.parse(readText('package.json')) as { scripts: Record<string, string> }).scripts;

/** Files as they are; of a folder those with tests. */
function filesOf(name: string): readonly string[] {
  if (!statSync(join(repository, name), { throwIfNoEntry: false })?.isDirectory()) return [name];
  return readdirSync(join(repository, name))
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => `${name}/${file}`);
}

it('has promises', () => expect(rows.length).toBeGreaterThan(15));

it.each(rows)('names tests that are there: $promise', ({ named }) => {
  const commands = named.filter((name) => name.startsWith('npm run '));
  for (const command of commands) expect(scripts).toHaveProperty([command.split(' ')[2] as string]);
  const files = named.filter((name) => !commands.includes(name)).flatMap(filesOf);
  expect(files).not.toEqual([]);
  for (const file of files) expect(existsSync(join(repository, file)), file).toBe(true);
});
