import { expect, it } from 'vitest';
import { decodeGeneration } from '../../src/store/generation_file.ts';

it.each([
  ['a number beyond all numbers', '{"made_by":1e999,"checksum":"x"}'],
  ['a nesting too deep to be written again', `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`],
  ['a list', '[]'],
  ['null', 'null'],
  ['a checksum of another', '{"checksum":"x"}'],
])('a record that is %s is damaged', (_, text) => {
  expect(() => decodeGeneration(Buffer.from(text), 'record.json')).toThrow(
    expect.objectContaining({ code: 'damaged_file', message: expect.stringContaining("'record.json'") }),
  );
});
