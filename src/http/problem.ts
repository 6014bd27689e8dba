import { type ErrorCode, InspectionError } from '../errors.ts';

/** What fails before there is a request that could fail. */
export type ConnectionErrorCode = 'malformed_request' | 'request_timeout' | 'headers_too_large';

export type ProblemCode = ErrorCode | ConnectionErrorCode;

/** The HTTP status of every error code. A code that is missing here does not compile. */
export const statusOf = {
  invalid_value: 400,
  missing_field: 422,
  invalid_type: 422,
  invalid_json: 400,
  invalid_multipart: 400,
  invalid_shape: 400,
  empty_mask: 400,
  no_images: 400,
  unreadable_image: 400,
  unsupported_media_type: 415,
  image_too_large: 413,
  body_too_large: 413,
  too_many_parts: 400,
  unauthorized: 401,
  foreign_origin: 403,
  insufficient_ok_samples: 400,
  insufficient_ng_samples: 400,
  memory_not_fitted: 400,
  mm_per_px_conflict: 409,
  recipe_in_use: 409,
  not_a_number: 503,
  extractor_mismatch: 409,
  fit_in_progress: 409,
  not_found: 404,
  method_not_allowed: 405,
  idempotency_key_reused: 422,
  request_in_progress: 409,
  job_ended: 409,
  job_cancelled: 409,
  job_interrupted: 503,
  queue_full: 429,
  deadline_missed: 503,
  not_ready: 503,
  shutting_down: 503,
  request_aborted: 503,
  storage_full: 507,
  storage_unavailable: 503,
  // A damaged model or an unusable card is for the plant to mend: the service is fine and other models are served.
  damaged_file: 503,
  invalid_model_card: 503,
  invalid_weights: 503,
  extractor_not_found: 503,
  download_failed: 502,
  download_changed: 502,
  invalid_config: 500,
  shape_mismatch: 500,
  internal_error: 500,
  malformed_request: 400,
  request_timeout: 408,
  headers_too_large: 431,
} as const satisfies Record<ProblemCode, number>;

export type ProblemStatus = (typeof statusOf)[ProblemCode];

export const problemMediaType = 'application/problem+json; charset=utf-8';

/** The error body of the contract together with the members of RFC 9457. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: ProblemStatus;
  /** One English sentence; `detail` repeats it for the clients that read that member. */
  readonly error: string;
  readonly detail: string;
  readonly code: ProblemCode;
  readonly request_id: string;
  readonly recipe_id: string;
}

/** Builds the body. `title` is the code in words, `type` a name relative to this service's own documentation. */
export function problem(code: ProblemCode, sentence: string, requestId: string, recipeId: string): Problem {
  return {
    type: `/docs#${code}`,
    title: code.replaceAll('_', ' ').replace(/^./, (letter) => letter.toUpperCase()),
    status: statusOf[code],
    error: sentence,
    detail: sentence,
    code,
    request_id: requestId,
    recipe_id: recipeId,
  };
}

/**
 * What a caller is told of a failure. What went wrong inside us is for the log: its text may hold what a caller must not
 * see.
 *
 * @param path of the request: a fit's error has no words of success
 */
export function shownFailure(error: unknown, path: string, requestId: string): InspectionError {
  const code = error instanceof InspectionError ? error.code : 'internal_error';
  const said =
    error instanceof InspectionError && statusOf[code] !== 500
      ? error.message
      : `The service failed on its own account; its log tells why under request ${requestId}.`;
  return new InspectionError(code, path === '/fit_ok' ? withoutWordsOfSuccess(said) : said, { cause: error });
}

/**
 * A fit error's sentence without the phrases that the GUI takes for success. No sentence of ours means them, but it may
 * repeat a name that holds one (a picture `already exists.png`); there the blank becomes an underscore.
 */
export function withoutWordsOfSuccess(sentence: string): string {
  return sentence.replace(/(?<=already) (?=trained|exists)|(?<=ya) (?=entrenad)|(?<=memoria) (?=existente)/gi, '_');
}
