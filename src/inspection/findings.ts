import { InspectionError } from '../errors.ts';

export type FindingLevel = 'ok' | 'warning' | 'error';

/** One thing that was found out about a models folder. */
export interface Finding {
  readonly level: FindingLevel;
  /** Of a file or a folder, below the models folder; `.` for itself. */
  readonly place: string;
  readonly what: string;
  /** Null where there is nothing to do. */
  readonly what_to_do: string | null;
}

export function good(place: string, what: string): Finding {
  return { level: 'ok', place, what, what_to_do: null };
}

/** Something that is lost or unused, and keeps nobody from working. */
export function warning(place: string, what: string, whatToDo: string): Finding {
  return { level: 'warning', place, what, what_to_do: whatToDo };
}

/** Something that answers wrongly or not at all, or will. */
export function failure(place: string, what: string, whatToDo: string): Finding {
  return { level: 'error', place, what, what_to_do: whatToDo };
}

/** What reading gave, or why it could not be read. */
export type Attempt<T> = { readonly value: T } | { readonly problem: string };

export async function attempt<T>(read: () => T | Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await read() };
  } catch (error) {
    if (error instanceof InspectionError) return { problem: error.message };
    throw error;
  }
}
