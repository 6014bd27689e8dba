import type { z } from 'zod';
import type { calibrateNgResponse, fitOkResponse, inferResponse } from '../../src/http/responses.ts';
import type { PartPicture } from '../parts.ts';

export type FitAnswer = z.infer<typeof fitOkResponse>;
export type CalibrateAnswer = z.infer<typeof calibrateNgResponse>;
export type InferAnswer = z.infer<typeof inferResponse>;

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export type Fields = Readonly<Record<string, string>>;

/** Posts a form as a browser or curl does. */
export async function postForm<T>(
  url: string,
  fields: Fields,
  files: readonly (PartPicture & { readonly field: string })[] = [],
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer<T>> {
  return await answer<T>(await fetch(url, { method: 'POST', body: formOf(fields, files), headers }));
}

export function formOf(fields: Fields, files: readonly (PartPicture & { readonly field: string })[]): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const { field, name, bytes } of files) form.append(field, new File([bytes as Uint8Array<ArrayBuffer>], name));
  return form;
}

export async function postJson<T>(url: string, body: unknown): Promise<Answer<T>> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return await answer<T>(
    await fetch(url, { method: 'POST', body: text, headers: { 'Content-Type': 'application/json' } }),
  );
}

export async function get<T>(url: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer<T>> {
  return await answer<T>(await fetch(url, { headers }));
}

async function answer<T>(response: Response): Promise<Answer<T>> {
  return { status: response.status, headers: response.headers, body: (await response.json()) as T };
}
