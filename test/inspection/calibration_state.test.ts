import { describe, expect, it } from 'vitest';
import { calibrationState } from '../../src/inspection/calibration_state.ts';
import type { CalibrationFile } from '../../src/store/calibration_file.ts';

const rule = { k: 1, mode: 'percentile', percentile: 99, sigmaPx: 1 } as const;
const memory = { memoryId: 'a', generation: 1, fingerprint: 'f' };
const file = (more: Partial<CalibrationFile>): CalibrationFile => ({ threshold: 0.5, ...more });

describe('calibrationState', () => {
  it.each([
    ['without a file', undefined, memory, 'none'],
    ['made for this memory', file({ memory_id: 'a', image_score_percentile: 99 }), memory, 'valid'],
    ['made for another memory', file({ memory_id: 'b', image_score_percentile: 99 }), memory, 'stale'],
    ['made under another percentile', file({ memory_id: 'a', image_score_percentile: 98 }), memory, 'stale'],
    ['made before the first memory', file({ memory_id: null, image_score_percentile: 99 }), memory, 'valid'],
    ['made before, but refitted since', file({ memory_id: null }), { ...memory, generation: 2 }, 'stale'],
    ["the predecessor's file beside the predecessor's memory", file({}), { ...memory, fingerprint: null }, 'valid'],
    ["the predecessor's file beside a memory of ours", file({}), memory, 'stale'],
  ] as const)('%s', (_, calibration, of, state) => {
    expect(calibrationState(calibration, of, rule)).toBe(state);
  });
});
