import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readForm } from '../../src/http/multipart.ts';

const limits = { maxBodyBytes: 1024 * 1024 };
const crlf = '\r\n';

function read(contentType: string, body: string | Uint8Array, maxBodyBytes = limits.maxBodyBytes) {
  return readForm(contentType, Readable.from([Buffer.from(body)]), { maxBodyBytes });
}

/** As .NET's MultipartFormDataContent frames it: quoted boundary, bare names, a type on every part. */
const dotNetBody = [
  '--7f3e 1',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Disposition: form-data; name=role_id',
  '',
  'Flansch Ø',
  '--7f3e 1',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Disposition: form-data; name=mm_per_px',
  '',
  '1E-05',
  '--7f3e 1',
  'Content-Type: application/json; charset=utf-8',
  'Content-Disposition: form-data; name=shape',
  '',
  '{"kind":"circle"}',
  '--7f3e 1',
  'Content-Type: image/png',
  "Content-Disposition: form-data; name=image; filename=x.png; filename*=utf-8''%C3%A4.png",
  '',
  'PICTURE',
  '--7f3e 1--',
  '',
].join(crlf);

describe('readForm', () => {
  it("reads .NET's framing", async () => {
    const form = await read('multipart/form-data; boundary="7f3e 1"', dotNetBody);
    expect(Object.fromEntries(form.fields)).toEqual({
      role_id: 'Flansch Ø',
      mm_per_px: '1E-05',
      shape: '{"kind":"circle"}',
    });
    expect(form.files).toEqual([{ field: 'image', name: 'ä.png', bytes: new Uint8Array(Buffer.from('PICTURE')) }]);
  });

  it("reads a browser's framing", async () => {
    const data = new FormData();
    data.append('role_id', 'a"b\r\nc');
    data.append('images', new File(['one'], 'ü 1.png', { type: 'image/png' }));
    data.append('images', new File(['two'], '2.png'));
    const request = new Request('http://localhost', { method: 'POST', body: data });
    const form = await read(request.headers.get('content-type') as string, new Uint8Array(await request.arrayBuffer()));
    expect(form.fields.get('role_id')).toBe('a"b\r\nc');
    expect(form.files.map(({ field, name, bytes }) => [field, name, Buffer.from(bytes).toString()])).toEqual([
      ['images', 'ü 1.png', 'one'],
      ['images', '2.png', 'two'],
    ]);
  });

  it('takes an octet-stream part without a file name for text, but a picture for a picture', async () => {
    const part = (name: string) =>
      `--b${crlf}Content-Disposition: form-data; name="${name}"${crlf}Content-Type: application/octet-stream${crlf}${crlf}value${crlf}`;
    const form = await read('multipart/form-data; boundary=b', `${part('role_id')}${part('image')}--b--${crlf}`);
    expect(form.fields.get('role_id')).toBe('value');
    expect(form.files.map(({ field }) => field)).toEqual(['image']);
  });

  it('takes a part for text by its field, also where it has a file name, as browsers send a Blob', async () => {
    const data = new FormData();
    data.append('shape', new Blob(['{"kind":"circle"}'], { type: 'application/json' }));
    data.append('role_id', new File(['Flansch Ø'], 'role.txt', { type: 'application/octet-stream' }));
    data.append('images[]', new Blob(['one']));
    data.append('image_note', new Blob(['not a picture']));
    const request = new Request('http://localhost', { method: 'POST', body: data });
    const form = await read(request.headers.get('content-type') as string, new Uint8Array(await request.arrayBuffer()));
    expect(Object.fromEntries(form.fields)).toEqual({
      shape: '{"kind":"circle"}',
      role_id: 'Flansch Ø',
      image_note: 'not a picture',
    });
    expect(form.files.map(({ field, name }) => [field, name])).toEqual([['images[]', 'blob']]);
  });

  describe('a text with a file name that is too long', () => {
    const long = (field: string) => {
      const head = `--b${crlf}Content-Disposition: form-data; name="${field}"; filename="blob"${crlf}${crlf}`;
      return Readable.from([Buffer.from(head), Buffer.alloc(1024 * 1024 + 1, 'x'), Buffer.from(`${crlf}--b--${crlf}`)]);
    };
    const roomy = { maxBodyBytes: 4 * 1024 * 1024, textFields: ['shape'] };

    it('is refused in a field that somebody reads', async () => {
      await expect(readForm('multipart/form-data; boundary=b', long('shape'), roomy)).rejects.toMatchObject({
        code: 'invalid_multipart',
        message: expect.stringContaining('"shape" is longer than 1048576 bytes'),
      });
    });

    it('is ignored in an unknown field', async () => {
      const form = await readForm('multipart/form-data; boundary=b', long('attachment'), roomy);
      expect(form).toEqual({ fields: new Map(), files: [] });
    });
  });

  describe('a field that may come several times', () => {
    const part = (name: string, text: string, more = '') =>
      `--b${crlf}Content-Disposition: form-data; name=${name}${more}${crlf}Content-Type: application/json; charset=utf-8${crlf}${crlf}${text}${crlf}`;
    const readList = (parts: readonly string[]) =>
      readForm('multipart/form-data; boundary=b', Readable.from([Buffer.from(`${parts.join('')}--b--${crlf}`)]), {
        ...limits,
        textFields: ['role_id'],
        listFields: ['metas', 'metas[]'],
      });

    it('keeps every text in the order they came, with or without a file name, under any of its names', async () => {
      const named = '; filename="blob"';
      const long = 'x'.repeat(200_000);
      const form = await readList([
        part('metas', '1'),
        part('metas', long, named),
        part('role_id', 'r'),
        part('"metas[]"', '3'),
        part('metas', '', named),
        part('metas', '5'),
      ]);
      expect(form.list).toEqual(['1', long, '3', '', '5']);
      expect(Object.fromEntries(form.fields)).toEqual({ role_id: 'r' });
    });

    it('is empty where it does not come, and no other field is a list', async () => {
      const form = await readList([part('role_id', 'a'), part('role_id', 'b')]);
      expect(form.list).toEqual([]);
      expect(form.fields.get('role_id')).toBe('b');
    });

    it('may come as often as there may be files', async () => {
      const form = await readList(Array.from({ length: 2000 }, (_, i) => part('metas', String(i))));
      expect(form.list).toHaveLength(2000);
      const tooMany = Array.from({ length: 2201 }, () => part('metas', '{}'));
      await expect(readList(tooMany)).rejects.toMatchObject({ code: 'too_many_parts' });
    });

    it.each(['', '; filename="blob"'])('is refused where one of its texts is too long %j', async (more) => {
      const body = [part('metas', 'x'.repeat(1024 * 1024 + 1), more)];
      const roomy = { maxBodyBytes: 4 * 1024 * 1024, textFields: [], listFields: ['metas'] };
      const form = readForm(
        'multipart/form-data; boundary=b',
        Readable.from([Buffer.from(`${body.join('')}--b--${crlf}`)]),
        roomy,
      );
      await expect(form).rejects.toMatchObject({
        code: 'invalid_multipart',
        message: expect.stringContaining('"metas"'),
      });
    });
  });

  it('ignores a part without a name', async () => {
    const part = (type: string) =>
      `--b${crlf}Content-Disposition: form-data${crlf}Content-Type: ${type}${crlf}${crlf}value${crlf}`;
    const body = `${part('application/octet-stream')}${part('text/plain')}--b--${crlf}`;
    expect(await read('multipart/form-data; boundary=b', body)).toEqual({ fields: new Map(), files: [] });
  });

  it('gives every file an array of its own, so that it can be moved to a worker', async () => {
    const form = await read('multipart/form-data; boundary="7f3e 1"', dotNetBody);
    const bytes = form.files[0]?.bytes as Uint8Array;
    expect(bytes.buffer.byteLength).toBe(bytes.byteLength);
  });

  it('refuses every body that is cut short', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: dotNetBody.length - 5 }), async (length) => {
        await expect(read('multipart/form-data; boundary="7f3e 1"', dotNetBody.slice(0, length))).rejects.toMatchObject(
          {
            code: 'invalid_multipart',
          },
        );
      }),
      { numRuns: 60 },
    );
  });

  it.each([1, 7, 1000])(
    'refuses a file that begins behind the closing boundary, in pieces of %i bytes',
    async (size) => {
      const file = `--b${crlf}Content-Disposition: form-data; name="image"; filename="x"${crlf}${crlf}bytes`;
      const body = Buffer.from(`--b--${crlf}--b${crlf}X: y${crlf}${crlf}z${crlf}${file}`);
      const pieces = Array.from({ length: Math.ceil(body.length / size) }, (_, i) =>
        body.subarray(i * size, (i + 1) * size),
      );
      const reading = readForm('multipart/form-data; boundary=b', Readable.from(pieces), limits);
      // Where a piece ends with the boundary the rest is passed over, as RFC 2046 has it.
      const outcome = await reading.then(
        ({ files }) => files.length,
        ({ code }) => code,
      );
      expect(['invalid_multipart', 0]).toContain(outcome);
    },
  );

  it('refuses other content types, a missing boundary and a body over the limit', async () => {
    await expect(read('application/json', '{}')).rejects.toMatchObject({ code: 'unsupported_media_type' });
    await expect(readForm(undefined, null, limits)).rejects.toMatchObject({ code: 'unsupported_media_type' });
    await expect(read('multipart/form-data', dotNetBody)).rejects.toMatchObject({ code: 'invalid_multipart' });
    await expect(read('multipart/form-data; boundary="7f3e 1"', dotNetBody, 300)).rejects.toMatchObject({
      code: 'body_too_large',
    });
  });

  it.each(['', '; filename="blob"'])('refuses more text fields than anybody needs %j', async (more) => {
    const parts = Array.from(
      { length: 201 },
      (_, i) => `--b${crlf}Content-Disposition: form-data; name="f${i}"${more}${crlf}${crlf}1${crlf}`,
    );
    await expect(read('multipart/form-data; boundary=b', `${parts.join('')}--b--${crlf}`)).rejects.toMatchObject({
      code: 'too_many_parts',
    });
  });

  describe('bounds', () => {
    const part = (disposition: string, more = '') =>
      `--b${crlf}Content-Disposition: form-data; ${disposition}${crlf}${more}${crlf}value${crlf}`;
    const refused = (parts: string, code: string, text: RegExp) =>
      expect(read('multipart/form-data; boundary=b', `${parts}--b--${crlf}`)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(text),
      });
    const manyHeaders = Array.from({ length: 2000 }, (_, i) => `X-${i}: ${i}${crlf}`).join('');

    it.each([
      ['a name of a text', part(`name="${'n'.repeat(201)}"`), /a part whose name exceeds 200 characters/],
      ['a name of a file', part(`name="${'n'.repeat(201)}"; filename="x"`), /a part whose name exceeds 200 characters/],
      [
        'a file name',
        part(`name="image"; filename="${'n'.repeat(1001)}"`),
        /a file whose name exceeds 1000 characters/,
      ],
      ['one header of a part', part('name="a"', `X: ${'x'.repeat(20_000)}${crlf}`), /malformed/],
      ['the headers of a part together', part('name="a"', manyHeaders), /malformed/],
    ])('refuse %s that is too long', async (_, parts, text) => {
      await refused(part('name="role_id"') + parts, 'invalid_multipart', text);
    });

    it('let the longest names pass', async () => {
      const name = 'n'.repeat(200);
      const file = part(`name="image"; filename="${'f'.repeat(1000)}"`);
      const form = await read('multipart/form-data; boundary=b', `${part(`name="${name}"`)}${file}--b--${crlf}`);
      expect(form.fields.get(name)).toBe('value');
      expect(form.files[0]?.name).toHaveLength(1000);
    });

    it("count parts that are nobody's", async () => {
      const nameless = (count: number) => `--b${crlf}X: y${crlf}${crlf}z${crlf}`.repeat(count);
      const form = await read('multipart/form-data; boundary=b', `${nameless(2200)}--b--${crlf}`);
      expect(form.fields.size).toBe(0);
      await refused(nameless(2201), 'too_many_parts', /more than 2200 parts/);
    });
  });
});
