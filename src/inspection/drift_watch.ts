import { type DriftDirection, type DriftState, driftOf, observe, startDrift } from '../patchcore/score_drift.ts';
import type { CalibrationFile } from '../store/calibration_file.ts';
import type { MemoryDescription } from '../workers/vision.ts';

/** Whether parts judged OK still look like those the model was made and calibrated with. */
export interface DriftReport {
  /** `not_watched`: no calibration in force, or fewer than eight pictures to compare with. */
  readonly state: 'not_watched' | 'steady' | 'drifted';
  /** What drifted: scores against the calibration's OK scores, brightness against the fit's pictures. */
  readonly by: DriftSignal | null;
  /** OK verdicts compared so far. */
  readonly pictures: number;
  /** The stronger evidence so far, and where it is called drift: at most one false alarm in 100,000 pictures for both. */
  readonly statistic: number | null;
  readonly limit: number | null;
  /** With which picture it probably began. */
  readonly since: number | null;
  readonly direction: DriftDirection | null;
}

export type DriftSignal = 'score' | 'brightness';

/** A calibration in force and the memory it belongs to. */
export interface JudgingModel {
  readonly calibration: CalibrationFile;
  readonly memory: Pick<MemoryDescription, 'pictures'>;
}

/** A picture that a calibration in force has judged. */
export interface JudgedPicture {
  /** Where the memory lies. */
  readonly place: string;
  readonly model: JudgingModel;
  readonly signals: Readonly<Record<DriftSignal, number>>;
}

/** Follows every calibrated model, in memory: a restart or a new calibration begins anew. */
export interface DriftWatch {
  /** Call with every picture whose verdict is answered. NG ones are passed over. */
  observe(picture: JudgedPicture): void;
  /** @param model the one in force; null: none */
  of(place: string, model: JudgingModel | null): DriftReport;
}

/** Below this a shift would hardly be noticed in time. */
const fewestReferences = 8;

/** Models followed; a state is some kilobytes. */
const capacity = 1024;

interface Watched {
  /** Of the calibration whose scores are the reference. */
  readonly identity: string;
  readonly states: Partial<Record<DriftSignal, DriftState>>;
}

export function createDriftWatch(): DriftWatch {
  // A Map keeps insertion order: the first key is the one unused for longest.
  const watched = new Map<string, Watched>();

  const find = (place: string, model: JudgingModel): Watched => {
    const identity = identityOf(model.calibration);
    const found = watched.get(place);
    return found?.identity === identity ? found : { identity, states: beginning(model) };
  };

  return {
    observe: ({ place, model, signals: values }) => {
      if (values.score >= model.calibration.threshold) return;
      const entry = find(place, model);
      for (const signal of signals) {
        const state = entry.states[signal];
        if (state !== undefined) entry.states[signal] = observe(state, values[signal]);
      }
      watched.delete(place);
      watched.set(place, entry);
      const [oldest] = watched.keys();
      if (watched.size > capacity && oldest !== undefined) watched.delete(oldest);
    },
    of: (place, model) => {
      const states = model === null ? {} : find(place, model).states;
      const found = signals.flatMap((signal) => {
        const state = states[signal];
        return state === undefined ? [] : [{ signal, ...driftOf(state) }];
      });
      const [strongest] = found.sort((a, b) => b.statistic - a.statistic);
      if (strongest === undefined) return nothingWatched;
      const { signal, drifted, pictures, statistic, limit, since, direction } = strongest;
      return {
        state: drifted ? 'drifted' : 'steady',
        by: drifted ? signal : null,
        pictures,
        statistic,
        limit,
        since,
        direction,
      };
    },
  };
}

const signals: readonly DriftSignal[] = ['score', 'brightness'];

const nothingWatched: DriftReport = {
  state: 'not_watched',
  by: null,
  pictures: 0,
  statistic: null,
  limit: null,
  since: null,
  direction: null,
};

/**
 * The calibration's OK scores that the threshold would call OK, because only such scores are compared with them (two
 * samples of one distribution cut at the same place still are of one distribution), and the brightness of the fit's
 * pictures: a light that changes slowly moves it long before it moves the scores.
 */
function beginning({ calibration, memory }: JudgingModel): Watched['states'] {
  const scores = (calibration.ok_scores ?? []).filter((score) => score < calibration.threshold);
  const brightness = memory.pictures.flatMap((picture) => picture.brightness ?? []);
  const start = (reference: readonly number[]) =>
    reference.length < fewestReferences ? undefined : startDrift(reference, 0, signals.length);
  const states: Watched['states'] = {};
  for (const [signal, reference] of [
    ['score', scores],
    ['brightness', brightness],
  ] as const) {
    const state = start(reference);
    if (state !== undefined) states[signal] = state;
  }
  return states;
}

function identityOf(calibration: CalibrationFile): string {
  return JSON.stringify([calibration.memory_id, calibration.threshold, calibration.calibrated_at_utc]);
}
