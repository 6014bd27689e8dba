import { expect } from 'vitest';
import type { z } from 'zod';
import type { jobResponse, jobWithResult } from '../../src/http/responses.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';
import { type Answer, type Fields, type FitAnswer, get, type InferAnswer, postForm } from './client.ts';
import type { OkngProcess } from './process.ts';

/** Fits of one model of a real process, waited for or as jobs, and the pictures for them. */

export type Job = z.infer<typeof jobResponse>;
export type JobWithResult = z.infer<typeof jobWithResult>;

export const model = { role_id: 'flange', roi_id: 'top', mm_per_px: String(partsMmPerPx) };
export const good = partPictures('train/good');
/** Long enough to be running when something happens to it. */
export const many = Array.from({ length: 8 }, () => good).flat();
const [part] = partPictures('test/good') as [PartPicture];

export const filesOf = (pictures: readonly PartPicture[]) =>
  pictures.map((picture) => ({ ...picture, field: 'images' }));

export const postFit = (okng: OkngProcess, pictures: readonly PartPicture[], fields: Fields = {}) =>
  postForm<FitAnswer>(`${okng.url}/fit_ok`, { ...model, ...fields }, filesOf(pictures));

export async function fitJob(
  okng: OkngProcess,
  pictures: readonly PartPicture[],
  headers: Fields = {},
  fields: Fields = {},
): Promise<Job> {
  const accepted = await postForm<Job>(`${okng.url}/fit_ok`, { ...model, ...fields }, filesOf(pictures), {
    Prefer: 'respond-async',
    ...headers,
  });
  expect(accepted.status, JSON.stringify(accepted.body)).toBe(202);
  return accepted.body;
}

export const infer = (okng: OkngProcess, fields: Fields = {}) =>
  postForm<InferAnswer>(`${okng.url}/infer`, { ...model, ...fields }, [{ ...part, field: 'image' }]);

export const jobAt = (okng: OkngProcess, { id }: Pick<Job, 'id'>) => get<JobWithResult>(`${okng.url}/jobs/${id}`);

export async function cancel(okng: OkngProcess, { id }: Job): Promise<Answer<JobWithResult>> {
  const response = await fetch(`${okng.url}/jobs/${id}`, { method: 'DELETE' });
  return { status: response.status, headers: response.headers, body: (await response.json()) as JobWithResult };
}

export interface JobEvent {
  readonly event: string;
  readonly job: Job;
}

/** The events of a job as they come, until the service ends the stream. */
export async function* eventsOf(
  okng: OkngProcess,
  { id }: Pick<Job, 'id'>,
  signal?: AbortSignal,
): AsyncGenerator<JobEvent> {
  const response = await fetch(`${okng.url}/jobs/${id}/events`, { ...(signal && { signal }) });
  expect(response.status).toBe(200);
  let text = '';
  for await (const piece of (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [, event, data] = /^event: (.*)\nid: .*\ndata: (.*)$/m.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (event !== undefined && data !== undefined) yield { event, job: JSON.parse(data) as Job };
    }
  }
}

/** Waits until a job has done the first of a step: embedded pictures, or chosen rows of the coreset. */
export async function begun(okng: OkngProcess, job: Job, step: 'pictures' | 'coreset' = 'pictures'): Promise<void> {
  const enough = new AbortController();
  for await (const { job: now } of eventsOf(okng, job, enough.signal)) {
    expect(now.state).not.toBe('succeeded');
    if (now.step === step && (now.done ?? 0) > 0) break;
  }
  enough.abort();
}
