import type { z } from 'zod';
import type * as responses from '../http/responses.ts';
import type * as schemas from '../http/schemas.ts';

/** What goes over the wire, in the words of the service's own schemas. */

type Json = Readonly<Record<string, unknown>>;

/** A picture's bytes as its file holds them, and the name they are told by. */
export type Picture = File | { readonly name: string; readonly bytes: Blob | Uint8Array };

/**
 * The fields of a form or a query: names, and which of them may be absent, as they are sent; values as the service reads them,
 * numbers as numbers. A shape may also be given as the object that its text holds.
 */
type Fields<S extends z.ZodType> = {
  readonly [Name in keyof z.input<S>]: Name extends keyof z.output<S>
    ? Name extends 'shape'
      ? z.output<S>[Name] | Json
      : z.output<S>[Name]
    : never;
};

export type FitFields = Fields<typeof schemas.fitOkForm> & {
  /** Good pictures, unless `use_dataset`. */
  readonly images?: readonly Picture[];
};
export type InferFields = Fields<typeof schemas.inferForm> & { readonly image: Picture };
export type InferAllFields = Fields<typeof schemas.inferForm> & { readonly image: readonly Picture[] };
export type UploadFields = Fields<typeof schemas.uploadForm> & {
  readonly images: readonly Picture[];
  /** None, or one for each of the images. */
  readonly metas?: readonly Json[];
};

export type ModelQuery = Fields<typeof schemas.modelQuery>;
export type DatasetQuery = Fields<typeof schemas.datasetQuery>;
export type DatasetLabelQuery = Fields<typeof schemas.datasetLabelQuery>;
export type SampleQuery = Fields<typeof schemas.sampleQuery>;
export type ThumbnailQuery = Fields<typeof schemas.thumbnailQuery>;
export type JobsQuery = Fields<typeof schemas.jobsQuery>;
export type RecipeRemoval = Fields<typeof schemas.recipeRemoval>;

export type CalibrateNgRequest = z.input<typeof schemas.calibrateNgRequest>;
export type CalibrateDatasetRequest = z.input<typeof schemas.calibrateDatasetRequest>;
export type InferDatasetRequest = z.input<typeof schemas.inferDatasetRequest>;
export type ReviewRequest = z.input<typeof schemas.reviewRequest>;
export type RollbackRequest = z.input<typeof schemas.rollbackRequest>;
export type RecipeChange = z.input<typeof schemas.recipeChange>;

export type Health = z.infer<typeof responses.healthResponse>;
export type Alive = z.infer<typeof responses.aliveResponse>;
export type Readiness = z.infer<typeof responses.readinessResponse>;
export type FitAnswer = z.infer<typeof responses.fitOkResponse>;
export type CalibrateNgAnswer = z.infer<typeof responses.calibrateNgResponse>;
export type InferAnswer = z.infer<typeof responses.inferResponse>;
export type ModelHealth = z.infer<typeof responses.modelHealthResponse>;
export type ModelList = z.infer<typeof responses.modelListResponse>;
export type GenerationList = z.infer<typeof responses.generationListResponse>;
export type Rollback = z.infer<typeof responses.rollbackResponse>;
export type ModelState = z.infer<typeof responses.stateResponse>;
export type Manifest = z.infer<typeof responses.manifestResponse>;
export type UploadAnswer = z.infer<typeof responses.uploadResponse>;
export type DatasetList = z.infer<typeof responses.datasetListResponse>;
export type SampleMeta = z.infer<typeof responses.sampleMetaResponse>;
export type SampleDeleted = z.infer<typeof responses.sampleDeletedResponse>;
export type DatasetCleared = z.infer<typeof responses.datasetClearedResponse>;
export type Review = z.infer<typeof responses.reviewResponse>;
export type CalibrateDatasetAnswer = z.infer<typeof responses.calibrateDatasetResponse>;
export type InferDatasetAnswer = z.infer<typeof responses.inferDatasetResponse>;
export type RecipeList = z.infer<typeof responses.recipeListResponse>;
export type Recipe = z.infer<typeof responses.recipeResponse>;
export type RecipeChanged = z.infer<typeof responses.recipeChangedResponse>;
export type RecipeDeleted = z.infer<typeof responses.recipeDeletedResponse>;
export type JobList = z.infer<typeof responses.jobListResponse>;
export type Job = z.infer<typeof responses.jobResponse>;
export type JobWithResult = z.infer<typeof responses.jobWithResult>;
export type Problem = z.infer<typeof responses.problemBody>;
