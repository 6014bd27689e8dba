import { deflateRawSync } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { calibrateNgResponse, fitOkResponse, inferResponse, problemBody } from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

let okng: TestApp;
const model = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };
const good = partPictures('train/good').map(({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name));
const scratched = partPictures('test/scratch').map(
  ({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name),
);
const image = scratched[0] as File;

beforeAll(async () => {
  okng = await startTestApp();
  const { status } = await postForm(okng, '/fit_ok', { ...model, images: good.slice(0, 4) });
  expect(status).toBe(200);
});

afterAll(() => okng.close());

function refused({ status, body }: JsonAnswer, expected: number, code: string, text: RegExp): void {
  expect({ status, code: body.code, text: body.error }).toMatchObject({ status: expected, code });
  expect(problemBody.parse(body).error).toMatch(text);
  expect(JSON.stringify(body)).not.toMatch(/at .*\.(ts|js):\d+|node_modules|\/tmp\//);
}

const file = (content: Uint8Array | string, name: string) => new File([content as Uint8Array<ArrayBuffer>], name);

/** A PNG that is nothing but a header with a lie. */
function hugePng(): Uint8Array {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const crc = (bytes: Buffer) => {
    let sum = 0xffffffff;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
    }
    return (sum ^ 0xffffffff) >>> 0;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(20000, 0);
  header.writeUInt32BE(20000, 4);
  header[8] = 8;
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateRawSync(Buffer.alloc(100))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

describe('bad input: a 4xx with a clear sentence, and nothing changed on disk', async () => {
  const png = new Uint8Array(
    await sharp({ create: { width: 64, height: 64, channels: 3, background: '#888' } })
      .png()
      .toBuffer(),
  );
  const tooLong = 'x'.repeat(300);
  type Fields = Record<string, string | File | readonly File[]>;
  const without = (name: string): Fields => Object.fromEntries(Object.entries(model).filter(([key]) => key !== name));

  const both: readonly (readonly [string, Fields, number, string, RegExp])[] = [
    ['missing role_id', without('role_id'), 422, 'missing_field', /role_id is missing/],
    ['missing roi_id', without('roi_id'), 422, 'missing_field', /roi_id is missing/],
    ['missing mm_per_px', without('mm_per_px'), 422, 'missing_field', /mm_per_px is missing/],
    ['empty role_id', { ...model, role_id: '' }, 400, 'invalid_value', /role_id must not be empty/],
    ['role_id of 300 characters', { ...model, role_id: tooLong }, 400, 'invalid_value', /300 characters; at most 200/],
    ['roi_id of 300 characters', { ...model, roi_id: tooLong }, 400, 'invalid_value', /roi_id has 300 characters/],
    ['model_key of 300 characters', { ...model, model_key: tooLong }, 400, 'invalid_value', /model_key has 300/],
    ['mm_per_px 0', { ...model, mm_per_px: '0' }, 400, 'invalid_value', /mm_per_px .* above 0; it is 0/],
    ['mm_per_px NaN', { ...model, mm_per_px: 'NaN' }, 400, 'invalid_value', /mm_per_px .* NaN/],
    ['mm_per_px abc', { ...model, mm_per_px: 'abc' }, 422, 'invalid_type', /mm_per_px must be a number; it is "abc"/],
    ['another scale than the recipe has', { ...model, mm_per_px: '0.2' }, 409, 'mm_per_px_conflict', /0\.2.*0\.1/],
    ['recipe ../x', { ...model, recipe_id: '../x' }, 400, 'invalid_value', /recipe_id "\.\.\/x"/],
    ['recipe last', { ...model, recipe_id: 'LAST' }, 400, 'invalid_value', /reserved/],
    [
      'booleans that are none',
      { ...model, memory_fit: 'maybe', include_heatmap: 'maybe' },
      422,
      'invalid_type',
      /(memory_fit|include_heatmap) must be true\/false, .*; it is "maybe"/,
    ],
    ['shape that is no JSON', { ...model, shape: '{"kind":' }, 400, 'invalid_shape', /shape is not valid JSON/],
  ];
  const pictures: readonly (readonly [string, File, number, string, RegExp])[] = [
    ['empty file', file('', 'empty.png'), 400, 'unreadable_image', /"empty.png" is empty/],
    ['text as a picture', file('hello', 'note.png'), 415, 'unsupported_media_type', /"note.png" is not a picture/],
    [
      'truncated PNG',
      file(png.subarray(0, png.length - 40), 'cut.png'),
      400,
      'unreadable_image',
      /"cut.png" cannot be decoded/,
    ],
    ['20000 × 20000 PNG header', file(hugePng(), 'huge.png'), 413, 'image_too_large', /"huge.png" has 20000 × 20000/],
    ['SVG', file('<svg xmlns="http://www.w3.org/2000/svg"/>', 'x.svg'), 415, 'unsupported_media_type', /"x.svg"/],
  ];

  describe.each([
    ['/infer', 'image'],
    ['/fit_ok', 'images'],
  ] as const)('%s', (path, field) => {
    it.each(both)('%s', async (_, fields, status, code, text) => {
      const before = okng.files();
      refused(await postForm(okng, path, { ...fields, [field]: image }), status, code, text);
      expect(okng.files()).toEqual(before);
    });

    it.each(pictures)('%s', async (_, picture, status, code, text) => {
      const before = okng.files();
      const files = field === 'images' ? [...good.slice(0, 2), picture] : picture;
      refused(await postForm(okng, path, { ...model, [field]: files }), status, code, text);
      expect(okng.files()).toEqual(before);
    });

    it('no picture', async () => {
      const before = okng.files();
      const code = field === 'images' ? 'no_images' : 'missing_field';
      refused(await postForm(okng, path, model), field === 'images' ? 400 : 422, code, new RegExp(field));
      expect(okng.files()).toEqual(before);
    });

    it('a picture as text: no file name, or no bytes but a word', async () => {
      const before = okng.files();
      const crlf = '\r\n';
      const part = (head: string, content: Uint8Array | string) =>
        Buffer.concat([
          Buffer.from(`--b${crlf}Content-Disposition: form-data; ${head}${crlf}${crlf}`),
          Buffer.from(content),
          Buffer.from(crlf),
        ]);
      const bytes = new Uint8Array(await image.arrayBuffer());
      const send = async (head: string, content: Uint8Array | string) => {
        const texts = Object.entries(model).map(([name, value]) => part(`name="${name}"`, value));
        const named = part(`name="${field}"; filename="a.jpg"`, bytes);
        const body = Buffer.concat([...texts, named, part(head, content), Buffer.from(`--b--${crlf}`)]);
        const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
        return answer(await okng.app.request(path, { method: 'POST', body, headers }));
      };
      const sentence = new RegExp(`The field ${field} came as text; send each picture as a file, with a file name`);
      for (const [head, content] of [
        [`name="${field}"${crlf}Content-Type: image/jpeg`, bytes],
        [`name="${field}"`, 'a.jpg'],
      ] as const) {
        refused(await send(head, content), 422, 'invalid_type', sentence);
      }
      expect(okng.files()).toEqual(before);
    });

    it('no form', async () => {
      const before = okng.files();
      refused(await postJson(okng, path, model), 415, 'unsupported_media_type', /multipart\/form-data/);
      expect(okng.files()).toEqual(before);
    });

    it('a body that is packed', async () => {
      const before = okng.files();
      const packed = await postForm(okng, path, { ...model, [field]: image }, { 'Content-Encoding': 'gzip' });
      refused(packed, 415, 'unsupported_media_type', /Content-Encoding is "gzip"; send the body as it is/);
      expect(okng.files()).toEqual(before);
    });

    it('a body over the limit, declared or not', async () => {
      const before = okng.files();
      const small = await startTestApp({ BDI_MAX_BODY_MIB: '1' });
      const big = file(new Uint8Array(2 * 1024 * 1024), 'big.png');
      refused(
        await postForm(small, path, { ...model, [field]: big }),
        413,
        'body_too_large',
        /1 MiB.*BDI_MAX_BODY_MIB/,
      );
      const declared = await postForm(small, path, { ...model, [field]: image }, { 'Content-Length': '68157440' });
      refused(declared, 413, 'body_too_large', /1 MiB/);
      expect(small.files()).toEqual({});
      await small.close();
      expect(okng.files()).toEqual(before);
    });
  });

  it.each([
    ['text that is no JSON', '{"kind":', /not valid JSON/],
    ['a list', '[1]', /must be a JSON object/],
    ['a number that is text', '{"kind":"rect","x":"1"}', /shape.x must be a finite number/],
    ['a negative width', '{"kind":"rect","w":-1}', /shape.w is -1/],
    ['a list of great depth', `{"kind":"rect","x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, /shape.x .* a list/],
  ])('shape: %s', async (_, shape, text) => {
    const before = okng.files();
    refused(await postForm(okng, '/infer', { ...model, shape, image }), 400, 'invalid_shape', text);
    expect(okng.files()).toEqual(before);
  });

  it.each([
    ['a rectangle outside', '{"kind":"rect","x":1000,"y":0,"w":10,"h":10}'],
    ['a circle outside', '{"kind":"circle","cx":-500,"cy":-500,"r":10}'],
    ['an annulus without ring', '{"kind":"annulus","cx":100,"cy":100,"r":10,"r_inner":10}'],
    ['a rectangle of no width', '{"kind":"rect","x":5,"y":5,"w":0,"h":10}'],
  ])('a mask that covers no pixel is never a pass: %s', async (_, shape) => {
    const before = okng.files();
    for (const [path, field] of [
      ['/infer', 'image'],
      ['/fit_ok', 'images'],
    ] as const) {
      const files = field === 'image' ? image : good.slice(0, 3);
      const answered = await postForm(okng, path, { ...model, shape, [field]: files });
      refused(answered, 400, 'empty_mask', /covers no pixel of the 384 × 384/);
    }
    expect(okng.files()).toEqual(before);
  });

  it.each([
    ['NaN', '{"role_id":"a","roi_id":"b","ok_scores":[NaN]}', 400, 'invalid_json', /not valid JSON/],
    ['no JSON', 'role_id=a', 400, 'invalid_json', /not valid JSON/],
    ['no scores', '{"role_id":"a","roi_id":"b","ok_scores":[]}', 400, 'invalid_value', /at least one score/],
    ['a score beyond all numbers', '{"role_id":"a","roi_id":"b","ok_scores":[1e999]}', 400, 'invalid_value', /finite/],
    ['missing scores', '{"role_id":"a","roi_id":"b"}', 422, 'missing_field', /ok_scores is missing/],
    ['missing role_id', '{"roi_id":"b","ok_scores":[1]}', 422, 'missing_field', /role_id is missing/],
    ['no body', '', 400, 'invalid_json', /not valid JSON: it is empty/],
    [
      'role_id of 300 characters',
      `{"role_id":"${tooLong}","roi_id":"b","ok_scores":[1]}`,
      400,
      'invalid_value',
      /300 characters; at most 200/,
    ],
    [
      'recipe ../x',
      '{"role_id":"a","roi_id":"b","ok_scores":[1],"recipe_id":"../x"}',
      400,
      'invalid_value',
      /recipe_id "\.\.\/x"/,
    ],
    [
      'mm_per_px 0',
      '{"role_id":"a","roi_id":"b","ok_scores":[1],"mm_per_px":0}',
      400,
      'invalid_value',
      /mm_per_px .* above 0; it is 0/,
    ],
    [
      'mm_per_px "abc"',
      '{"role_id":"a","roi_id":"b","ok_scores":[1],"mm_per_px":"abc"}',
      422,
      'invalid_type',
      /mm_per_px must be a number/,
    ],
    ['another scale', '{"role_id":"a","roi_id":"b","ok_scores":[1],"mm_per_px":5}', 409, 'mm_per_px_conflict', /5/],
    [
      'scores whose sum is none',
      '{"role_id":"a","roi_id":"b","ok_scores":[1e308,1e308]}',
      400,
      'invalid_value',
      /1e\+100/,
    ],
    [
      'a scale whose square is none',
      '{"role_id":"a","roi_id":"b","ok_scores":[1],"mm_per_px":1e200}',
      400,
      'invalid_value',
      /1e-9 to 1000000/,
    ],
    [
      'great depth',
      `{"role_id":"a","roi_id":"b","ok_scores":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
      422,
      'invalid_type',
      /ok_scores/,
    ],
    [
      'a recipe of great depth',
      `{"role_id":"a","roi_id":"b","ok_scores":[1],"recipe_id":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
      422,
      'invalid_type',
      /recipe_id/,
    ],
  ])('/calibrate_ng: %s', async (_, body, status, code, text) => {
    const before = okng.files();
    refused(await postJson(okng, '/calibrate_ng', body), status, code, text);
    expect(okng.files()).toEqual(before);
  });

  describe('/calibrate_ng', () => {
    const scores = '{"role_id":"a","roi_id":"b","ok_scores":[1]}';
    const post = async (to: TestApp, body: string, headers: Readonly<Record<string, string>>) =>
      answer(await to.app.request('/calibrate_ng', { method: 'POST', body, headers }));

    it('a form, which is told what is read here', async () => {
      const before = okng.files();
      const form = { 'Content-Type': 'multipart/form-data; boundary=b' };
      refused(
        await post(okng, '--b--', form),
        400,
        'invalid_json',
        /reads application\/json; .* is multipart\/form-data/,
      );
      expect(okng.files()).toEqual(before);
    });

    it('a body that is packed', async () => {
      const before = okng.files();
      const packed = await post(okng, scores, { 'Content-Encoding': 'br' });
      refused(packed, 415, 'unsupported_media_type', /Content-Encoding is "br"/);
      expect(okng.files()).toEqual(before);
      expect((await post(okng, '{', { 'Content-Encoding': 'identity' })).body.code).toBe('invalid_json');
    });

    it('a body over the limit, declared or not', async () => {
      const small = await startTestApp({ BDI_MAX_BODY_MIB: '1' });
      const body = scores.padEnd(1024 * 1024 + 1);
      refused(await post(small, body, {}), 413, 'body_too_large', /1 MiB.*BDI_MAX_BODY_MIB/);
      refused(await post(small, scores, { 'Content-Length': '68157440' }), 413, 'body_too_large', /1 MiB/);
      expect(small.files()).toEqual({});
      await small.close();
    });
  });

  it('a recipe that nobody has fitted, in a folder where nothing is', async () => {
    const empty = await startTestApp();
    for (const recipe of ['default', 'unknown']) {
      const answered = await postForm(empty, '/infer', { ...model, recipe_id: recipe, image });
      refused(answered, 400, 'memory_not_fitted', new RegExp(`memory not fitted for .* recipe "${recipe}"`));
    }
    expect(empty.files()).toEqual({});
    await empty.close();
  });
});

describe('a model that is not there', () => {
  it('is told in the words the GUI knows, on 400', async () => {
    const { status, body } = await postForm(okng, '/infer', { ...model, roi_id: 'other', image });
    expect(status).toBe(400);
    expect(String(body.error).toLowerCase()).toContain('memoria no encontrada');
    expect(String(body.error).toLowerCase()).toContain('memory not fitted');
  });

  it('is not found through ids that look like paths', async () => {
    const before = okng.files();
    for (const role of ['../flange', '..', '/etc/passwd', 'flange\u0000', '..\\flange']) {
      const { status, body } = await postForm(okng, '/infer', { ...model, role_id: role, image });
      expect({ status, code: body.code }).toEqual({ status: 400, code: 'memory_not_fitted' });
    }
    expect(okng.files()).toEqual(before);
  });
});

describe('/fit_ok', () => {
  it('answers as the contract says and never with the words the GUI takes for success', async () => {
    const { status, body } = await postForm(okng, '/fit_ok', { ...model, roi_id: 'side', images: good.slice(0, 2) });
    expect(status).toBe(200);
    expect(fitOkResponse.parse(body)).toMatchObject({
      n_embeddings: 2048,
      coreset_size: 41,
      token_shape: [32, 32],
      coreset_rate_requested: 0.02,
      coreset_rate_applied: 41 / 2048,
      mm_per_px: 0.1,
    });
  });

  it('keeps every patch with memory_fit', async () => {
    const { body } = await postForm(okng, '/fit_ok', {
      ...model,
      roi_id: 'all',
      memory_fit: 'TRUE',
      images: good[0] as File,
    });
    expect(body).toMatchObject({ n_embeddings: 1024, coreset_size: 1024, coreset_rate_applied: 1 });
  });

  it('works for ids of 200 characters of any script', async () => {
    const ids = { ...model, role_id: '検'.repeat(200), roi_id: `${'a/..\\'.repeat(40)}` };
    expect((await postForm(okng, '/fit_ok', { ...ids, images: good[0] as File })).status).toBe(200);
    const { status, body } = await postForm(okng, '/infer', { ...ids, image: good[1] as File });
    expect(status).toBe(200);
    expect(body).toMatchObject({ role_id: ids.role_id, roi_id: ids.roi_id });
  });

  it('lets one fit of a model run at a time', async () => {
    const fitAgain = () => postForm(okng, '/fit_ok', { ...model, roi_id: 'twice', images: good.slice(0, 6) });
    const answers = await Promise.all([fitAgain(), fitAgain()]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(answers.find(({ status }) => status === 409)?.body).toMatchObject({ code: 'fit_in_progress' });
  });

  it.each(['already exists', 'ALREADY Trained', 'ya entrenado', 'Memoria Existente'])(
    'repeats no name so that the GUI takes a refusal for success: %s',
    async (words) => {
      const taken = /already trained|already exists|ya entrenad|memoria existente/i;
      const refusals = [
        await postForm(okng, '/fit_ok', { ...model, images: [file('hello', `${words}.png`)] }),
        await postForm(okng, '/fit_ok', { ...model, memory_fit: words, images: good[0] as File }),
        await postForm(okng, '/fit_ok', { ...model, recipe_id: words, images: good[0] as File }),
      ];
      const twice = () => postForm(okng, '/fit_ok', { ...model, role_id: words, images: good.slice(0, 3) });
      refusals.push(...(await Promise.all([twice(), twice()])).filter(({ status }) => status !== 200));
      expect(refusals.map(({ status }) => status)).toEqual([415, 422, 400, 409]);
      for (const { body } of refusals) {
        expect(JSON.stringify(body)).not.toMatch(taken);
        expect(String(body.error).toLowerCase()).toContain(words.replace(' ', '_').toLowerCase());
        expect(body.detail).toBe(body.error);
      }
    },
  );

  it('is given up when its caller leaves, changes nothing and makes room for the next', async () => {
    const ids = { ...model, roi_id: 'left' };
    const before = okng.files();
    const caller = new AbortController();
    const data = new FormData();
    for (const [name, value] of Object.entries(ids)) data.append(name, value);
    for (const picture of [...good, ...good]) data.append('images', picture);
    const begun = okng.app.request('/fit_ok', { method: 'POST', body: data, signal: caller.signal });
    setTimeout(() => caller.abort(), 300);
    const { status, body } = await answer(await begun);
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'request_aborted' });
    expect(okng.files()).toEqual(before);
    expect((await postForm(okng, '/fit_ok', { ...ids, images: good[0] as File })).status).toBe(200);
  });

  it('keeps recipes apart, by field and by header', async () => {
    const recipe = { ...model, mm_per_px: '0.5', recipe_id: 'Line2' };
    const fitted = await postForm(okng, '/fit_ok', { ...recipe, images: good.slice(4, 6) });
    expect(fitted).toMatchObject({ status: 200, body: { recipe_id: 'line2', mm_per_px: 0.5 } });
    const byHeader = await postForm(okng, '/infer', { ...model, mm_per_px: '0.5', image }, { 'X-Recipe-Id': 'LINE2' });
    const byField = await postForm(okng, '/infer', { ...recipe, image }, { 'X-Recipe-Id': 'default' });
    const other = await postForm(okng, '/infer', { ...model, image });
    expect(byHeader.body.score).toBe(byField.body.score);
    expect(other.body.score).not.toBe(byField.body.score);
  });
});

describe('/calibrate_ng', () => {
  const ids = { role_id: 'numbers', roi_id: 'only' };

  it.each([
    [[22], 17.48],
    [null, 12.96],
    [[5, 6], 13.2192],
    [[], 12.96],
  ])('with NG %j gives %d, before a memory exists', async (ng, threshold) => {
    const { status, body } = await postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [10, 11, 13], ng_scores: ng });
    expect(status).toBe(200);
    const calibration = calibrateNgResponse.parse(body);
    expect(calibration.threshold).toBeCloseTo(threshold, 9);
    expect(calibration).toMatchObject({ area_mm2_thr: 1, score_percentile: 99, memory_id: null, mm_per_px: 0.1 });
    expect(calibration.ng_mean === 0).toBe(ng === null || ng.length === 0);
  });

  it('takes null for an absent recipe_id and model_key', async () => {
    const { status, body } = await postJson(okng, '/calibrate_ng', {
      ...ids,
      ok_scores: [1],
      recipe_id: null,
      model_key: null,
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ recipe_id: 'default', model_key: 'only' });
  });

  it('has mm_per_px 0.2 in a recipe that has none', async () => {
    const { body } = await postJson(okng, '/calibrate_ng', { ...ids, recipe_id: 'fresh', ok_scores: [1] });
    expect(body.mm_per_px).toBe(0.2);
  });
});

describe('/infer', () => {
  const judged = { ...model, roi_id: 'judged' };

  it('has no verdict, no regions, but a score before calibration', async () => {
    await postForm(okng, '/fit_ok', { ...judged, images: good.slice(0, 6) });
    const { body } = await postForm(okng, '/infer', { ...judged, image });
    expect(inferResponse.parse(body)).toMatchObject({ threshold: null, decision: null, regions: [] });
    expect(body.score).toBeGreaterThan(0);
  });

  it('is NG at the threshold exactly, OK just below it', async () => {
    const { body } = await postForm(okng, '/infer', { ...judged, image });
    const score = body.score as number;
    for (const [threshold, decision] of [
      [score, 'ng'],
      [score * (1 + 1e-12), 'ok'],
    ] as const) {
      await postJson(okng, '/calibrate_ng', {
        role_id: 'flange',
        roi_id: 'judged',
        ok_scores: [threshold],
        area_mm2_thr: 0,
      });
      const { body: again } = await postForm(okng, '/infer', { ...judged, image });
      expect(again).toMatchObject({ score, threshold, decision });
    }
  });

  it('gives regions largest first, in pixels of the picture and mm²', async () => {
    await postJson(okng, '/calibrate_ng', {
      role_id: 'flange',
      roi_id: 'judged',
      ok_scores: [0.14],
      area_mm2_thr: 0.05,
    });
    const { body } = await postForm(okng, '/infer', { ...judged, image });
    const { regions } = inferResponse.parse(body);
    expect(regions.length).toBeGreaterThan(0);
    for (const region of regions) {
      expect(region.bbox).toEqual([region.x, region.y, region.w, region.h]);
      expect(region.area_mm2).toBeCloseTo(region.area_px * 0.01, 9);
      expect(region.area_mm2).toBeGreaterThanOrEqual(0.05);
      expect(region.x + region.w).toBeLessThanOrEqual(384);
    }
    expect(regions.map(({ area_px }) => area_px)).toEqual(regions.map(({ area_px }) => area_px).sort((a, b) => b - a));
  });

  it('forgets a threshold with the memory it belonged to, and keeps it when the memory is the same', async () => {
    const same = await postForm(okng, '/fit_ok', { ...judged, images: good.slice(0, 6) });
    expect(same.body.calibration).toBe('kept');
    expect((await postForm(okng, '/infer', { ...judged, image })).body.threshold).toBe(0.14);
    const other = await postForm(okng, '/fit_ok', { ...judged, images: good.slice(0, 5) });
    expect(other.body.calibration).toBe('stale');
    expect((await postForm(okng, '/infer', { ...judged, image })).body).toMatchObject({
      threshold: null,
      decision: null,
    });
  });

  it('inspects the shape that a browser sends as a Blob', async () => {
    const shape = '{"kind":"circle","cx":60,"cy":60,"r":20}';
    const asText = await postForm(okng, '/infer', { ...model, shape, image });
    const asBlob = await postForm(okng, '/infer', { ...model, shape: file(shape, 'blob'), image });
    const whole = await postForm(okng, '/infer', { ...model, image });
    expect(asBlob.body.score).toBe(asText.body.score);
    expect(asBlob.body.score).not.toBe(whole.body.score);
  });

  it.each(['{"kind":"polygon","r":-1}', '{"kind":"polygon","x":"a"}', '{"kind":5}'])(
    'inspects the whole picture for the unknown kind of %s',
    async (shape) => {
      const unknown = await postForm(okng, '/infer', { ...model, shape, image });
      const whole = await postForm(okng, '/infer', { ...model, image });
      expect(unknown).toMatchObject({ status: 200, body: { score: whole.body.score } });
    },
  );

  it('leaves the heatmap out when asked to', async () => {
    const { body } = await postForm(okng, '/infer', { ...model, include_heatmap: 'no', image });
    expect(body.heatmap_png_base64).toBeNull();
  });

  it('says how it was made', async () => {
    const { body } = await postForm(okng, '/infer', { ...model, image });
    expect(body.params).toEqual({
      extractor: 'embedded_filter_bank',
      memory_origin: 'okng',
      input_size: 256,
      patch_size: 8,
      coreset_rate: 0.02,
      coreset_rate_applied: 82 / 4096,
      k: 1,
      score_mode: 'percentile',
      score_percentile: 99,
      position_weight: 0,
      blur_sigma: 1,
      mm_per_px: 0.1,
    });
  });

  it('drops alpha instead of blending it: the same score as without', async () => {
    const pixels = sharp((await image.bytes?.()) ?? new Uint8Array(await image.arrayBuffer()));
    const score = async (bytes: Uint8Array, name: string) =>
      (await postForm(okng, '/infer', { ...model, image: file(bytes, name) })).body.score as number;
    const plain = await score(new Uint8Array(await pixels.clone().png().toBuffer()), 'a.png');
    const raw = await pixels.clone().raw().toBuffer({ resolveWithObject: true });
    const alpha = Buffer.alloc(raw.info.width * raw.info.height * 4, 0);
    for (let i = 0; i < raw.info.width * raw.info.height; i++) raw.data.copy(alpha, i * 4, i * 3, i * 3 + 3);
    const rgba = await sharp(alpha, { raw: { ...raw.info, channels: 4 } })
      .png()
      .toBuffer();
    expect(await score(new Uint8Array(rgba), 'b.png')).toBe(plain);
  });
});

describe('a flood', () => {
  it('is told to come back, and what was accepted is answered', async () => {
    const narrow = await startTestApp({ BDI_QUEUE_LIMIT: '2' });
    await postForm(narrow, '/fit_ok', { ...model, images: good[0] as File });
    const answers = await Promise.all(Array.from({ length: 8 }, () => postForm(narrow, '/infer', { ...model, image })));
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(2);
    const refusals = answers.filter(({ status }) => status === 429);
    expect(refusals).toHaveLength(6);
    expect(refusals[0]?.headers.get('retry-after')).toBe('1');
    expect((await narrow.app.request('/health')).status).toBe(200);
    expect((await postForm(narrow, '/infer', { ...model, image })).status).toBe(200);
    await narrow.close();
  });
});
