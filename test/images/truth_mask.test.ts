import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { truthMask } from '../../src/images/truth_mask.ts';

describe('truthMask', () => {
  it('takes gray above 127 for defect', () => {
    const values = [0, 1, 127, 128, 254, 255];
    const data = Uint8Array.from(values.flatMap((value) => [value, value, value]));
    expect(truthMask({ height: 2, width: 3, data })).toEqual({
      height: 2,
      width: 3,
      data: Uint8Array.of(0, 0, 0, 1, 1, 1),
    });
  });

  it('weighs colours as Rec. 601 does: green alone is bright enough, red and blue are not', () => {
    const data = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0);
    expect([...truthMask({ height: 1, width: 4, data }).data]).toEqual([0, 1, 0, 1]);
  });

  it('holds 0 and 1 only, one per pixel; a gray pixel counts by its own value', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(255), { minLength: 1, maxLength: 50 }), (values) => {
        const data = Uint8Array.from(values.flatMap((value) => [value, value, value]));
        expect([...truthMask({ height: 1, width: values.length, data }).data]).toEqual(
          values.map((value) => (value > 127 ? 1 : 0)),
        );
      }),
    );
  });
});
