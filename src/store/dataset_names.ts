import { randomBytes } from 'node:crypto';
import { basename, extname } from 'node:path';

/** The two classes of a dataset, as their folders are called. */
export const sampleLabels = ['ok', 'ng'] as const;
export type SampleLabel = (typeof sampleLabels)[number];

export function isSampleLabel(name: string): name is SampleLabel {
  return (sampleLabels as readonly string[]).includes(name);
}

/** The endings of each format; the first stands for a picture that came without one of them. */
const extensionsOf = {
  png: ['png'],
  jpeg: ['jpg', 'jpeg', 'jfif'],
  bmp: ['bmp'],
  tiff: ['tif', 'tiff'],
  webp: ['webp'],
} as const;

/** The formats as `images/picture_format.ts` calls them, which proves them. */
export type SampleFormat = keyof typeof extensionsOf;
/** Lower-case, without the dot. */
export type SampleExtension = (typeof extensionsOf)[SampleFormat][number];

const pictureExtensions: ReadonlySet<string> = new Set(Object.values(extensionsOf).flat());

function extensionIn(fileName: string): string {
  return extname(fileName).slice(1).toLowerCase();
}

/**
 * What a stored picture's name ends with: the ending of the client's name in lower case where it is one of the proven
 * format's, otherwise the format's usual one.
 *
 * @param clientName any text; empty when the client sent none
 */
export function sampleExtension(clientName: string, format: SampleFormat): SampleExtension {
  const extensions: readonly SampleExtension[] = extensionsOf[format];
  const sent = extensionIn(clientName);
  return extensions.find((extension) => extension === sent) ?? extensionsOf[format][0];
}

/**
 * Whether a file of a dataset's folder is a sample by its name, ours or the predecessor's: any name with a picture's
 * ending in any case. Hidden files are none, and so is any text that is not one plain name (separators, `..`, NUL).
 */
export function isSampleName(name: string): boolean {
  const plain = basename(name) === name && !name.includes('\0') && !name.startsWith('.');
  return plain && pictureExtensions.has(extensionIn(name));
}

/** The name of a sample's meta: its stem and `.json`. Pictures that differ in their ending only share one. */
export function metaNameOf(sampleName: string): string {
  return `${sampleName.slice(0, -extname(sampleName).length)}.json`;
}

/** Whether a meta belongs to a name that {@link createSampleNames} made, so that no one else can have put it there. */
export function isOwnMetaName(name: string): boolean {
  return /^\d{8}-\d{6}-\d{3}-\d{4}-[0-9a-f]{12}\.json$/.test(name);
}

/** Where names come from. */
export interface NameSources {
  /** ms since 1970 */
  readonly nowMs: () => number;
  /** Twelve hex digits, different every time. */
  readonly token: () => string;
}

export const systemNameSources: NameSources = {
  nowMs: Date.now,
  token: () => randomBytes(6).toString('hex'),
};

const HIGHEST_COUNT = 9999;

/**
 * Makes names for new samples: `20240501-101112-345-0000-0123456789ab.png`, which is date, time of day and ms in UTC, a
 * count within the ms, and the token. One maker's names ascend (by code unit) in the order it made them, even when the
 * clock is set back; those of several processes ascend with their clocks. Two are equal only when ms, count and token
 * (48 random bits) all are. They sort among the predecessor's (`20240501-101112-345678.png`) by time, too.
 */
export function createSampleNames({ nowMs, token }: NameSources): (extension: SampleExtension) => string {
  let lastMs = Number.NEGATIVE_INFINITY;
  let count = 0;
  return (extension) => {
    const now = Math.floor(nowMs());
    if (now > lastMs) {
      lastMs = now;
      count = 0;
    } else if (++count > HIGHEST_COUNT) {
      lastMs++;
      count = 0;
    }
    const time = new Date(lastMs).toISOString().replace(/[-:Z]/g, '').replace(/[T.]/g, '-');
    return `${time}-${String(count).padStart(4, '0')}-${token()}.${extension}`;
  };
}
