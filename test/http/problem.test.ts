import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { problem, withoutWordsOfSuccess } from '../../src/http/problem.ts';

describe('withoutWordsOfSuccess', () => {
  it.each([
    ['The picture "already exists.png" is empty.', 'The picture "already_exists.png" is empty.'],
    ['ALREADY TRAINED Already Trained', 'ALREADY_TRAINED Already_Trained'],
    ['role "ya entrenada", ROI "Memoria existente"', 'role "ya_entrenada", ROI "Memoria_existente"'],
    ['A model that exists already has no memory.', 'A model that exists already has no memory.'],
  ])('%s', (sentence, safe) => {
    expect(withoutWordsOfSuccess(sentence)).toBe(safe);
  });

  it('leaves none of the phrases, wherever they stand, and the length as it was', () => {
    const phrases = ['already trained', 'Already exists', 'ya entrenad', 'MEMORIA EXISTENTE'];
    const piece = fc.oneof(fc.constantFrom(...phrases, 'already ', 'ya ', ' '), fc.string());
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const sentence = pieces.join('');
        const safe = withoutWordsOfSuccess(sentence);
        expect(safe.toLowerCase()).not.toMatch(/already trained|already exists|ya entrenad|memoria existente/);
        expect(safe).toHaveLength(sentence.length);
      }),
    );
  });
});

describe('problem', () => {
  it('tells of a full disk with a status of the contract', () => {
    expect(problem('storage_full', 'The disk is full.', 'id', 'default').status).toBe(507);
  });
});
