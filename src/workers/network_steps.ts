import type { Extractor } from '../extractors/extractor.ts';
import { type ExtractorSource, openExtractor } from '../extractors/installed_extractors.ts';
import { squaredLengths } from '../kernels/row_loops.ts';
import type { Device } from '../onnx/onnx_session.ts';
import { selectRows } from '../patchcore/matrix.ts';
import { cellsInFrame } from '../patchcore/memory_bank.ts';
import { type ExtractedPicture, notFinite } from './extracted_picture.ts';
import type { EmbeddedPicture, PreparedPicture } from './vision.ts';

/** The steps that need a loaded network. One per thread: it is not safe for concurrent calls. */
export interface NetworkSteps {
  /** For a fit. @throws InspectionError `not_a_number` */
  embed(picture: PreparedPicture): Promise<EmbeddedPicture>;
  /** For a search, which sees for itself whether the numbers are finite. */
  extract(picture: PreparedPicture): Promise<ExtractedPicture>;
  /** @returns where the extractor runs */
  warm(): Promise<Device>;
  dispose(): Promise<void>;
}

export interface NetworkSettings {
  readonly source: ExtractorSource;
  /** Of one run. */
  readonly threads: number;
  readonly device: Device;
}

/** Loads the extractor on first use. */
export function createNetworkSteps(settings: NetworkSettings): NetworkSteps {
  let extractor: Promise<Extractor> | null = null;

  const openOnce = (): Promise<Extractor> => {
    const opened =
      extractor ??
      openExtractor(settings.source, { threads: settings.threads, device: settings.device }).catch((error: unknown) => {
        // A card may be mended while the service runs: the next picture tries again.
        extractor = null;
        throw error;
      });
    extractor = opened;
    return opened;
  };

  const extract = async (picture: PreparedPicture): Promise<ExtractedPicture> => {
    const started = performance.now();
    const extractor = await openOnce();
    const { embeddings, grid } = await extractor.extract(picture.input);
    const cells = cellsInFrame(grid, picture.frame);
    return {
      embeddings: cells.length === embeddings.rows ? embeddings : selectRows(embeddings, cells),
      grid,
      cells,
      extractorName: extractor.info.name,
      extractMs: performance.now() - started,
    };
  };

  return {
    embed: async (picture) => {
      const { embeddings, extractMs, extractorName } = await extract(picture);
      // No sum of float32 squares is too large for float64.
      if (!squaredLengths(embeddings).every(Number.isFinite)) throw notFinite(extractorName);
      return { embeddings, extractMs };
    },
    extract,
    warm: async () => (await openOnce()).device,
    dispose: async () => {
      const opened = extractor;
      extractor = null;
      if (opened !== null) await (await opened).dispose();
    },
  };
}
