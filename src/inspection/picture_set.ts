/** Pictures to evaluate with, wherever they come from. */
export interface PictureSet {
  readonly name: string;
  /** Good pictures to fit from. */
  readonly train: readonly SetPicture[];
  readonly test: readonly TestPicture[];
}

export interface SetPicture {
  /** Path inside the set, with `/`. */
  readonly file: string;
  read(): Promise<Uint8Array>;
}

export interface TestPicture extends SetPicture {
  /** `good`, or the defect's kind. */
  readonly kind: string;
  /** The bytes of the truth's mask; null where there is none. */
  readonly readMask: (() => Promise<Uint8Array>) | null;
}

/** What a picture without defect is called. */
export const goodKind = 'good';
