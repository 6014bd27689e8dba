import type { Sizes } from './bench_order.ts';
import type { Measured } from './figure.ts';

/** What a subject measures with, and where it says what it found. */
export interface BenchContext {
  readonly sizes: Sizes;
  /** Of work that takes less than a second. */
  readonly repetitions: number;
  /** Of longer work. */
  readonly fewRepetitions: number;
  /** All cores. */
  readonly threads: number;
  /** A ViT's safetensors file. */
  readonly weights: string | null;
  /** Fires when the run is to end. */
  readonly signal: AbortSignal;
  /** What is measured now. */
  tell(what: string): void;
  report(title: string, figures: readonly Measured[]): void;
  /** A sentence on what is not measured, and why. */
  leaveOut(sentence: string): void;
}

/** One thing the benchmark measures. */
export type Subject = (context: BenchContext) => Promise<void>;
