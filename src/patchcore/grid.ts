/** Height before width: patch rows and columns of one picture as the extractor sees it. */
export interface PatchGrid {
  readonly rows: number;
  readonly cols: number;
}

/** A picture's size in pixels. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

/**
 * Where the picture lies on the patch grid, in units of patches (fractions allowed). A picture without padding covers
 * `{top: 0, left: 0, height: rows, width: cols}`; a letterboxed one less.
 */
export interface GridFrame {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}
