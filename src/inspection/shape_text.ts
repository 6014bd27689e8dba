import { InspectionError } from '../errors.ts';
import { numbersOfKind, type ShapeNumber, type ShapeSpec, shapeKind } from '../patchcore/roi_mask.ts';

export const wholePicture: ShapeSpec = { kind: '', numbers: {} };

/**
 * Reads the `shape` of a request: JSON text such as `{"kind":"circle","cx":10,"cy":10,"r":5}`. Empty text is the whole
 * picture; so is an unknown kind, whatever else the object holds. Only the numbers that the kind has are read; `null`
 * counts as a missing one.
 *
 * @throws InspectionError `invalid_shape` when the text is no JSON object, or a number of the kind is none
 */
export function parseShapeText(text: string): ShapeSpec {
  if (text.trim() === '') return wholePicture;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InspectionError('invalid_shape', `shape is not valid JSON; it is ${quoted(text)}.`, { cause });
  }
  return shapeOf(value);
}

/**
 * {@link parseShapeText} for what is JSON already.
 *
 * @throws InspectionError `invalid_shape`
 */
export function shapeOf(value: unknown): ShapeSpec {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InspectionError(
      'invalid_shape',
      `shape must be a JSON object such as {"kind":"rect","x":0,"y":0,"w":10,"h":10}; it is ${inWords(value)}.`,
    );
  }
  const members = value as Readonly<Record<string, unknown>>;
  const kind = typeof members.kind === 'string' ? shapeKind(members.kind) : null;
  if (kind === null) return wholePicture;
  const numbers: Partial<Record<ShapeNumber, number>> = {};
  for (const name of numbersOfKind[kind]) {
    const number = members[name];
    if (number === undefined || number === null) continue;
    if (typeof number !== 'number' || !Number.isFinite(number)) {
      throw new InspectionError('invalid_shape', `shape.${name} must be a finite number; it is ${inWords(number)}.`);
    }
    numbers[name] = number;
  }
  return { kind, numbers };
}

/** Lists and objects are only named: a caller can nest them so deep that writing them out overflows the stack. */
function inWords(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'number' && !Number.isFinite(value)) return 'beyond all numbers';
  return String(value);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
