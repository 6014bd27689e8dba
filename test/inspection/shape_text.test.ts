import { describe, expect, it } from 'vitest';
import { parseShapeText, wholePicture } from '../../src/inspection/shape_text.ts';

describe('parseShapeText', () => {
  it('takes empty text for the whole picture', () => {
    expect(parseShapeText('')).toEqual(wholePicture);
    expect(parseShapeText(' \n')).toEqual(wholePicture);
  });

  it('reads kind in any case and fractional numbers, passes over null and the unknown', () => {
    expect(parseShapeText('{"kind":" Circle","cx":1.5,"cy":-2,"r":null,"colour":"red"}')).toEqual({
      kind: 'circle',
      numbers: { cx: 1.5, cy: -2 },
    });
  });

  it.each([
    '[]',
    '1',
    'null',
    '"rect"',
    '{',
    '{"kind":1}',
    '{"kind":"rect","x":"1"}',
    '{"kind":"rect","w":1e999}',
    '{"kind":"rect","x":NaN}',
  ])('refuses %s', (text) => {
    expect(() => parseShapeText(text)).toThrow(
      expect.objectContaining({ code: 'invalid_shape', message: expect.stringContaining('shape') }),
    );
  });
});
