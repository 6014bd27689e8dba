import fc from 'fast-check';
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
    '{"kind":"rect","x":"1"}',
    '{"kind":"rect","w":1e999}',
    '{"kind":"rect","x":NaN}',
    '{"kind":"circle","r":true}',
    '{"kind":"circle","r":[1]}',
    '{"kind":"ANNULUS","r_inner":{}}',
  ])('refuses %s', (text) => {
    expect(() => parseShapeText(text)).toThrow(
      expect.objectContaining({ code: 'invalid_shape', message: expect.stringContaining('shape') }),
    );
  });

  it.each([
    '{}',
    '{"kind":null,"x":"a"}',
    '{"kind":5}',
    '{"kind":["rect"],"w":-1}',
    '{"kind":"polygon","r":-1}',
    '{"kind":"polygon","x":"a"}',
    '{"kind":"constructor","x":"a"}',
  ])('takes an unknown kind for the whole picture, whatever stands beside it: %s', (text) => {
    expect(parseShapeText(text)).toEqual(wholePicture);
  });

  it('reads only the numbers of the kind', () => {
    const others = '"r":-1,"r_inner":"x","cx":{}';
    expect(parseShapeText(`{"kind":"rect","x":1,"y":2,"w":3,"h":4,${others}}`)).toEqual({
      kind: 'rect',
      numbers: { x: 1, y: 2, w: 3, h: 4 },
    });
  });

  it.each([
    ['"1"', '"1"'],
    ['1e999', 'beyond all numbers'],
    ['[1]', 'a list'],
    ['{}', 'an object'],
    ['true', 'true'],
  ])('tells that shape.x is %s', (json, words) => {
    expect(() => parseShapeText(`{"kind":"rect","x":${json}}`)).toThrow(
      `shape.x must be a finite number; it is ${words}.`,
    );
  });

  it.each(['x', 'kind'])('survives nesting of any depth in %s', (member) => {
    const depth = 200_000;
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const deep = `${open.repeat(depth)}1${close.repeat(depth)}`;
      const text = member === 'x' ? `{"kind":"rect","x":${deep}}` : `{"kind":${deep}}`;
      if (member === 'kind') expect(parseShapeText(text)).toEqual(wholePicture);
      else expect(() => parseShapeText(text)).toThrow(expect.objectContaining({ code: 'invalid_shape' }));
    }
  });

  it('answers any JSON object with a shape or with invalid_shape', () => {
    const member = fc.oneof(fc.jsonValue(), fc.constantFrom('rect', 'CIRCLE', 'annulus', -1, 0.5));
    const names = ['kind', 'x', 'y', 'w', 'h', 'cx', 'cy', 'r', 'r_inner'];
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), member), (members) => {
        try {
          const { kind, numbers } = parseShapeText(JSON.stringify(members));
          expect(['', 'rect', 'circle', 'annulus']).toContain(kind);
          expect(Object.values(numbers).every(Number.isFinite)).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_shape' });
          expect(['rect', 'circle', 'annulus']).toContain(String(members.kind).trim().toLowerCase());
        }
      }),
    );
  });
});
