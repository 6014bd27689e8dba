/**
 * Every way a request can fail, by name. `http/problem.ts` gives each a status; a code without one does not compile.
 *
 * A verdict, an empty result or "not calibrated yet" are values, not errors.
 */
export type ErrorCode =
  // the caller sent something unusable
  | 'invalid_value'
  | 'missing_field'
  | 'invalid_type'
  | 'invalid_json'
  | 'invalid_multipart'
  | 'invalid_shape'
  | 'empty_mask'
  | 'no_images'
  | 'unreadable_image'
  | 'unsupported_media_type'
  | 'image_too_large'
  | 'body_too_large'
  | 'too_many_parts'
  | 'unauthorized'
  | 'foreign_origin'
  | 'insufficient_ok_samples'
  | 'insufficient_ng_samples'
  // the caller is right, the state is not
  | 'memory_not_fitted'
  | 'mm_per_px_conflict'
  | 'recipe_in_use'
  | 'extractor_mismatch'
  | 'not_a_number'
  | 'fit_in_progress'
  | 'not_found'
  | 'method_not_allowed'
  | 'idempotency_key_reused'
  | 'request_in_progress'
  | 'job_ended'
  | 'job_cancelled'
  | 'job_interrupted'
  // the service cannot now
  | 'queue_full'
  | 'deadline_missed'
  | 'not_ready'
  | 'shutting_down'
  | 'request_aborted'
  | 'storage_full'
  | 'storage_unavailable'
  // files on disk
  | 'damaged_file'
  | 'invalid_model_card'
  | 'invalid_weights'
  | 'extractor_not_found'
  // files from elsewhere
  | 'download_failed'
  | 'download_changed'
  // configuration
  | 'invalid_config'
  // our own mistakes
  | 'shape_mismatch'
  | 'internal_error';

/**
 * A failure with a name. The message is one English sentence (or a few) that names the field, the value, the limit
 * and what to do; it is shown to callers, so it never contains a path of this host or a stack.
 */
export class InspectionError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'InspectionError';
    this.code = code;
  }
}
