import type { Picture } from './wire.ts';

/**
 * Fields as a multipart form: pictures as files, lists as repeated fields, objects as JSON text. What is undefined or null is
 * left out.
 */
export function formOf(fields: object): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item === undefined || item === null) continue;
      if (isPicture(item)) form.append(name, fileOf(item));
      else form.append(name, typeof item === 'object' ? JSON.stringify(item) : String(item));
    }
  }
  return form;
}

/** Fields as a query with its question mark, lists with commas; empty when there is nothing to say. */
export function queryOf(fields: object): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) query.append(name, String(value));
  }
  return query.size === 0 ? '' : `?${query}`;
}

function isPicture(value: unknown): value is Picture {
  if (value instanceof File) return true;
  const { bytes } = value as { bytes?: unknown };
  return bytes instanceof Blob || bytes instanceof Uint8Array;
}

function fileOf(picture: Picture): File {
  return picture instanceof File ? picture : new File([picture.bytes as Blob | Uint8Array<ArrayBuffer>], picture.name);
}
