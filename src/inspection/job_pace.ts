/** How fast one step of a job goes on. */
export interface Pace {
  readonly step: string;
  readonly total: number;
  /** When the step began, or went on after another. */
  readonly sinceMs: number;
  /** How much of it had been done then. */
  readonly doneBefore: number;
  /** How much was done of every step so far. */
  readonly doneOf: Readonly<Record<string, number>>;
  readonly first: Report;
  readonly last: Report;
}

interface Report {
  readonly done: number;
  readonly atMs: number;
}

/**
 * The pace after one more report. Another step, another total, or less done than before begins anew.
 *
 * @param before null before the first report
 * @param startedMs when the job began
 */
export function withReport(
  before: Pace | null,
  { step, done, total }: { readonly step: string; readonly done: number; readonly total: number },
  nowMs: number,
  startedMs: number,
): Pace {
  const report = { done, atMs: nowMs };
  const doneOf = { ...before?.doneOf, [step]: done };
  if (before?.step === step && before.total === total && done >= before.last.done) {
    return { ...before, last: report, doneOf };
  }
  const goesOn = before !== null && before.step !== step;
  const doneBefore = goesOn ? Math.min(done, before.doneOf[step] ?? 0) : 0;
  return { step, total, sinceMs: before?.last.atMs ?? startedMs, doneBefore, doneOf, first: report, last: report };
}

/**
 * Seconds until the step is expected to end: what is left at the mean pace since its first report, because the first piece
 * may have loaded a network. With one report only, at the pace up to it; null while nothing is done. Counts down between
 * two reports, not below 0.
 */
export function etaSeconds({ total, sinceMs, doneBefore, first, last }: Pace, nowMs: number): number | null {
  const hasTwo = last.done > first.done;
  const [from, pieces] = hasTwo ? [first.atMs, last.done - first.done] : [sinceMs, first.done - doneBefore];
  if (total <= last.done) return 0;
  if (pieces === 0) return null;
  const leftMs = ((last.atMs - from) / pieces) * (total - last.done);
  return Math.max(0, leftMs - (nowMs - last.atMs)) / 1000;
}
