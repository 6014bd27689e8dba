import { createRequire } from 'node:module';

/** The version in package.json. */
export function okngVersion(): string {
  const manifest = createRequire(import.meta.url)('../package.json') as { readonly version: string };
  return manifest.version;
}
