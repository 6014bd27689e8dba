import { InspectionError } from '../errors.ts';
import type { ShapeNumber, ShapeSpec } from '../patchcore/roi_mask.ts';

const shapeNumbers: readonly ShapeNumber[] = ['x', 'y', 'w', 'h', 'cx', 'cy', 'r', 'r_inner'];

export const wholePicture: ShapeSpec = { kind: '', numbers: {} };

/**
 * Reads the `shape` of a request: JSON text such as `{"kind":"circle","cx":10,"cy":10,"r":5}`. Empty text is the whole
 * picture; so is an unknown kind. `null` counts as a missing number.
 *
 * @throws InspectionError `invalid_shape` when the text is no JSON object or a number in it is none
 */
export function parseShapeText(text: string): ShapeSpec {
  if (text.trim() === '') return wholePicture;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InspectionError('invalid_shape', `shape is not valid JSON; it is ${quoted(text)}.`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InspectionError(
      'invalid_shape',
      `shape must be a JSON object such as {"kind":"rect","x":0,"y":0,"w":10,"h":10}; it is ${quoted(text)}.`,
    );
  }
  const members = value as Readonly<Record<string, unknown>>;
  const kind = members.kind ?? '';
  if (typeof kind !== 'string') {
    throw new InspectionError('invalid_shape', `shape.kind must be text; it is ${quoted(JSON.stringify(kind))}.`);
  }
  const numbers: Partial<Record<ShapeNumber, number>> = {};
  for (const name of shapeNumbers) {
    const number = members[name];
    if (number === undefined || number === null) continue;
    if (typeof number !== 'number' || !Number.isFinite(number)) {
      throw new InspectionError(
        'invalid_shape',
        `shape.${name} must be a finite number; it is ${quoted(JSON.stringify(number))}.`,
      );
    }
    numbers[name] = number;
  }
  return { kind: kind.trim().toLowerCase(), numbers };
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
