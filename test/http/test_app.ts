import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hono } from 'hono';
import { type Logger, pino } from 'pino';
import { type Config, loadConfig } from '../../src/config.ts';
import { createApp } from '../../src/http/app.ts';
import type { OkngEnv } from '../../src/http/context.ts';
import { createService, type Service } from '../../src/service.ts';
import type { FreeBytes } from '../../src/store/disk_floor.ts';

/** The whole service behind `app.request`, on a models folder of its own, with real threads and the embedded extractor. */
export interface TestApp {
  readonly app: Hono<OkngEnv>;
  readonly service: Service;
  readonly config: Config;
  readonly modelsDir: string;
  /** Every file with its content and every folder, those beside the models folder as well: to see that nothing changed. */
  files(): Readonly<Record<string, string>>;
  close(): Promise<void>;
}

export async function startTestApp(
  environment: Readonly<Record<string, string>> = {},
  { log = pino({ level: 'silent' }), freeBytes }: { readonly log?: Logger; readonly freeBytes?: FreeBytes } = {},
): Promise<TestApp> {
  const folder = mkdtempSync(join(tmpdir(), 'okng-http-'));
  const modelsDir = join(folder, 'models');
  const config: Config = loadConfig({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', ...environment });
  const service = await createService(config, undefined, undefined, freeBytes);
  const app = createApp({ service, config, log });
  return {
    app,
    service,
    config,
    modelsDir,
    files: () => {
      const names = (readdirSync(folder, { recursive: true }) as string[]).sort();
      const content = (name: string) =>
        statSync(join(folder, name)).isFile() ? readFileSync(join(folder, name)).toString('base64') : 'a folder';
      return Object.fromEntries(names.map((name) => [name, content(name)]));
    },
    close: async () => {
      await service.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

/** Posts a form; a `File` is a picture, text a field. A list repeats the field. */
export async function postForm(
  { app }: TestApp,
  path: string,
  fields: Readonly<Record<string, string | File | readonly File[]>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<JsonAnswer> {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const item of Array.isArray(value) ? value : [value]) form.append(name, item as string | File);
  }
  return await answer(await app.request(path, { method: 'POST', body: form, headers }));
}

export async function postJson({ app }: TestApp, path: string, body: unknown): Promise<JsonAnswer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return await answer(
    await app.request(path, { method: 'POST', body: text, headers: { 'Content-Type': 'application/json' } }),
  );
}

export async function answer(response: Response): Promise<JsonAnswer> {
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}
