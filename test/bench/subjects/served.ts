import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formOf, get, type InferAnswer, postForm, postJson } from '../../e2e/client.ts';
import { type OkngProcess, startOkng } from '../../e2e/process.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../../parts.ts';
import type { BenchContext } from '../bench_context.ts';

/** A service of its own process, with a models folder of its own. */
export interface Served {
  readonly okng: OkngProcess;
  /** Fits `count` pictures, the same ones again where there are fewer. */
  fit(role: string, count: number): Promise<void>;
  infer(role: string, picture: PartPicture, fields?: Readonly<Record<string, string>>): Promise<InferAnswer>;
  /** The same, as fast as a caller can be: the form is written beforehand, and the answer comes unread. */
  asking(role: string, picture: PartPicture, fields?: Readonly<Record<string, string>>): Promise<Ask>;
  /** So that a picture of that score has regions. */
  calibrateBelow(role: string, score: number): Promise<void>;
  health(): Promise<void>;
}

/** @param requestId as the service's log is to call it */
export type Ask = (requestId?: string) => Promise<ArrayBuffer>;

export interface ServedOptions {
  readonly environment: Readonly<Record<string, string>>;
  /** Puts into the models folder what the start needs. */
  readonly prepare?: (modelsDir: string) => Promise<void>;
}

/** Starts a service, uses it and removes all of it, also when the run is interrupted. */
export async function withService<T>(
  { signal }: Pick<BenchContext, 'signal'>,
  { environment, prepare }: ServedOptions,
  use: (served: Served) => Promise<T>,
): Promise<T> {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-bench-'));
  try {
    await prepare?.(modelsDir);
    signal.throwIfAborted();
    const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, ...environment });
    const end = () => okng.child.kill('SIGKILL');
    signal.addEventListener('abort', end);
    try {
      return await use(servedBy(okng));
    } finally {
      signal.removeEventListener('abort', end);
      await okng.kill('SIGTERM');
    }
  } finally {
    rmSync(modelsDir, { recursive: true, force: true });
  }
}

function servedBy(okng: OkngProcess): Served {
  const { url } = okng;
  const good = partPictures('train/good');
  const model = (role: string) => ({ role_id: role, roi_id: 'top' });
  const posted = async <A>(path: string, fields: Readonly<Record<string, string>>, files: FormFiles): Promise<A> => {
    const scaled = { mm_per_px: String(partsMmPerPx), ...fields };
    return accepted(path, await postForm<A>(`${url}${path}`, scaled, files));
  };
  return {
    okng,
    fit: async (role, count) => {
      const pictures = Array.from({ length: count }, (_, i) => good[i % good.length] as PartPicture);
      const files = pictures.map((picture) => ({ ...picture, field: 'images' }));
      await posted('/fit_ok', model(role), files);
    },
    infer: (role, picture, fields = {}) =>
      posted('/infer', { ...model(role), ...fields }, [{ ...picture, field: 'image' }]),
    asking: async (role, picture, fields = {}) => {
      const all = { ...model(role), mm_per_px: String(partsMmPerPx), ...fields };
      const form = formOf(all, [{ ...picture, field: 'image' }]);
      const request = new Request(`${url}/infer`, { method: 'POST', body: form });
      const type = { 'Content-Type': request.headers.get('content-type') ?? '' };
      const body = await request.arrayBuffer();
      return async (requestId) => {
        const headers = requestId === undefined ? type : { ...type, 'X-Request-Id': requestId };
        const response = await fetch(request.url, { method: 'POST', body, headers });
        if (response.status !== 200)
          throw new Error(`/infer was answered ${response.status}: ${await response.text()}`);
        return await response.arrayBuffer();
      };
    },
    calibrateBelow: async (role, score) => {
      const scores = { ok_scores: [0.8 * score], mm_per_px: partsMmPerPx };
      accepted('/calibrate_ng', await postJson(`${url}/calibrate_ng`, { ...model(role), ...scores }));
    },
    health: async () => {
      accepted('/health', await get(`${url}/health`));
    },
  };
}

type FormFiles = Parameters<typeof postForm>[2];

function accepted<A>(path: string, { status, body }: { readonly status: number; readonly body: A }): A {
  if (status !== 200) throw new Error(`${path} was answered ${status}: ${JSON.stringify(body)}`);
  return body;
}
