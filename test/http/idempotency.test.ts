import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAnswerLedger, fingerprintOf, idempotencyKey, ledgerLimits } from '../../src/http/idempotency.ts';

describe('the key', () => {
  it.each([
    [undefined, null],
    ['', null],
    ['  ', null],
    ['""', null],
    ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"8e03978e"', '8e03978e'],
    ['"a \\"b\\" \\\\"', 'a "b" \\'],
    // Not a string of the draft: taken as it is.
    ['"a', '"a'],
    ['x'.repeat(255), 'x'.repeat(255)],
  ])('of %j is %j', (header, key) => {
    expect(idempotencyKey(header)).toBe(key);
  });

  it.each(['x'.repeat(256), 'stra\u00dfe', 'a\tb'])('is refused with its length and the limit: %j', (header) => {
    expect(() => idempotencyKey(header)).toThrow(`${header.length} characters; it must be 1 to 255 printable ASCII`);
  });
});

describe('the fingerprint', () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const asked = {
    method: 'POST',
    path: '/fit_ok',
    key: { recipeId: 'default', roleId: 'flange' },
    fields: { mm_per_px: 0.1 },
    pictures: [{ name: 'a.png', bytes }],
  };

  it('is the same for the same request, in other buffers', async () => {
    const again = structuredClone(asked);
    expect(await fingerprintOf(again)).toBe(await fingerprintOf(asked));
    const window = new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4);
    expect(await fingerprintOf({ ...asked, pictures: [{ name: 'a.png', bytes: window }] })).toBe(
      await fingerprintOf(asked),
    );
  });

  it.each([
    ['method', { method: 'PUT' }],
    ['path', { path: '/infer_dataset' }],
    ['recipe', { key: { recipeId: 'line2', roleId: 'flange' } }],
    ['field', { fields: { mm_per_px: 0.2 } }],
    ['picture', { pictures: [{ name: 'a.png', bytes: new Uint8Array([1, 2, 4]) }] }],
    ["picture's name", { pictures: [{ name: 'b.png', bytes }] }],
    ['number of pictures', { pictures: [...asked.pictures, ...asked.pictures] }],
    ['absence of pictures', { pictures: [] }],
  ])('is another for another %s', async (_, change) => {
    expect(await fingerprintOf({ ...asked, ...change })).not.toBe(await fingerprintOf(asked));
  });

  it('tells pictures in another order apart', async () => {
    const picture = fc.record({ name: fc.string(), bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }) });
    await fc.assert(
      fc.asyncProperty(picture, picture, async (a, b) => {
        fc.pre(JSON.stringify(a) !== JSON.stringify(b));
        const of = (pictures: (typeof a)[]) => fingerprintOf({ ...asked, pictures });
        expect(await of([a, b])).not.toBe(await of([b, a]));
      }),
    );
  });
});

describe('the ledger', () => {
  const repeat = (key: string, fingerprint = 'f') => ({ key, fingerprint });
  const answer = (body: object) => async () => body;

  it('gives a repeated request the first answer, without its work', async () => {
    const ledger = createAnswerLedger(() => 0);
    expect(await ledger.answer(repeat('k'), answer({ n: 1 }))).toEqual({ body: { n: 1 }, repeated: false });
    expect(await ledger.answer(repeat('k'), answer({ n: 2 }))).toEqual({ body: { n: 1 }, repeated: true });
    expect(await ledger.answer(repeat('other'), answer({ n: 3 }))).toEqual({ body: { n: 3 }, repeated: false });
    expect([ledger.has('k'), ledger.has('none')]).toEqual([true, false]);
  });

  it('refuses a key that comes with another request, answered or not', async () => {
    const ledger = createAnswerLedger(() => 0);
    const first = ledger.answer(repeat('k'), answer({}));
    await expect(ledger.answer(repeat('k', 'g'), answer({}))).rejects.toMatchObject({ code: 'idempotency_key_reused' });
    await first;
    await expect(ledger.answer(repeat('k', 'g'), answer({}))).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  });

  it('sends a repetition away while the first is being worked on', async () => {
    const ledger = createAnswerLedger(() => 0);
    let finish = (_: object) => {};
    const first = ledger.answer(repeat('k'), () => new Promise((resolve) => (finish = resolve)));
    await expect(ledger.answer(repeat('k'), answer({}))).rejects.toMatchObject({ code: 'request_in_progress' });
    finish({ n: 1 });
    await first;
    expect((await ledger.answer(repeat('k'), answer({ n: 2 }))).body).toEqual({ n: 1 });
  });

  it('tries anew what failed', async () => {
    const ledger = createAnswerLedger(() => 0);
    await expect(ledger.answer(repeat('k'), () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await ledger.answer(repeat('k'), answer({ n: 2 }))).toEqual({ body: { n: 2 }, repeated: false });
  });

  it('forgets after a day', async () => {
    let now = 0;
    const ledger = createAnswerLedger(() => now);
    await ledger.answer(repeat('k'), answer({}));
    now = ledgerLimits.hours * 3600 * 1000;
    expect(ledger.has('k')).toBe(true);
    now++;
    expect(ledger.has('k')).toBe(false);
  });

  it('keeps so many answers, the newest, and none that is very large; what is in progress is never forgotten', async () => {
    let now = 0;
    const ledger = createAnswerLedger(() => now);
    let finish = (_: object) => {};
    const held = ledger.answer(repeat('held'), () => new Promise((resolve) => (finish = resolve)));
    for (let i = 0; i < ledgerLimits.answers + 2; i++) await ledger.answer(repeat(`k${i}`), answer({}));
    expect([ledger.has('k1'), ledger.has('k2')]).toEqual([false, true]);
    now = 2 * ledgerLimits.hours * 3600 * 1000;
    expect(ledger.has('held')).toBe(true);
    finish({});
    await held;
    await ledger.answer(repeat('large'), answer({ text: 'x'.repeat(ledgerLimits.characters) }));
    expect(ledger.has('large')).toBe(false);
  });
});
