import { type Dice, hostileNumbers, hostileTexts, mutated } from './dice.ts';
import { hostilePicture } from './hostile_pictures.ts';

/** One request as it goes over the wire. */
export interface RawRequest {
  /** `POST /infer`, for the summary; the method is the real one. */
  readonly about: string;
  readonly bytes: Buffer;
  /** Its framing was mutated: what came may be no whole request, and then nobody has to answer. */
  readonly isMangled: boolean;
}

/** What requests may refer to. */
export interface World {
  readonly pictures: readonly Buffer[];
  readonly samples: readonly string[];
  readonly jobs: readonly string[];
}

/** Recipes that requests may change in every way. */
export const openRecipes = ['default', 'fuzz', 'line-2'] as const;
/** A recipe that requests add to, but never remove from: what was acknowledged must stay. */
export const keptRecipe = 'kept';

interface Part {
  readonly name: string;
  readonly value: string | Buffer;
  readonly fileName?: string;
}

interface Body {
  readonly type: string;
  readonly bytes: Buffer;
}

interface Draft {
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Body;
}

/** The next request: a sensible one of any endpoint, and then a few things wrong with it. */
export function hostileRequest(dice: Dice, world: World): RawRequest {
  const draft = dice.pick(drafts)(dice, world);
  const about = `${draft.method} ${draft.path.replace(/^(\/(?:jobs|recipes|models))\/[^?]*?(\/[a-z]+)?$/, '$1/…$2')}`;
  const head = headOf(dice, draft);
  const body = draft.body === undefined ? Buffer.alloc(0) : draft.body.bytes;
  const bytes = Buffer.concat([head.bytes, head.isChunked ? chunked(dice, body) : body]);
  const isMangled = head.isMangled || dice.chance(0.05);
  return { about, bytes: isMangled && !head.isMangled ? mutated(dice, bytes) : bytes, isMangled };
}

const roles = ['flange', 'flange', 'flange', 'Flansch Ø'] as const;
const goodShapes = [
  '',
  '{"kind":"rect","x":2,"y":2,"w":20,"h":20}',
  '{"kind":"circle","cx":20,"cy":20,"r":15}',
  '{"kind":"annulus","cx":20,"cy":20,"r":15,"r_inner":4}',
] as const;
const hostileShapes = [
  '{',
  '[]',
  '7',
  '{"kind":"circle","cx":1e308,"cy":-1e308,"r":1e308}',
  '{"kind":"annulus","cx":100000000000000032,"cy":2,"r":10,"r_inner":5}',
  '{"kind":"circle","cx":1e999}',
  '{"kind":"rect","x":-1e9,"y":0,"w":2e9,"h":2e9}',
  '{"kind":"rect","w":-5,"h":0}',
  '{"kind":"annulus","r":5,"r_inner":50}',
  '{"kind":"circle","r":"5"}',
  '{"kind":{"a":[]},"r":[]}',
  '{"kind":"circle","r":1e-300}',
  '{"__proto__":{"kind":"rect"}}',
  `${'['.repeat(20_000)}`,
  `{"kind":"rect","x":${'['.repeat(9000)}${']'.repeat(9000)}}`,
] as const;

const id = (dice: Dice) => (dice.chance(0.75) ? dice.pick(roles) : dice.pick(hostileTexts));
const number = (dice: Dice, usual: string) => (dice.chance(0.8) ? usual : dice.pick(hostileNumbers));
const flag = (dice: Dice) => dice.pick(['true', 'false', '1', 'no', 'ON', '', 'maybe', 'ja']);
const recipe = (dice: Dice) => (dice.chance(0.8) ? dice.pick(openRecipes) : dice.pick(hostileTexts));
const recipeOrKept = (dice: Dice) => (dice.chance(0.3) ? keptRecipe : recipe(dice));
const shape = (dice: Dice) => (dice.chance(0.5) ? dice.pick(goodShapes) : dice.pick(hostileShapes));
const label = (dice: Dice) => (dice.chance(0.85) ? dice.pick(['ok', 'ng']) : dice.pick(hostileTexts));

/** Several fields or none of those that may be left out. */
function some(dice: Dice, fields: Readonly<Record<string, string>>, share = 0.4): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(() => dice.chance(share)));
}

/** Fields of which most are there. */
const most = (dice: Dice, fields: Readonly<Record<string, string>>) => some(dice, fields, 0.97);

const names = (dice: Dice, of: (dice: Dice) => string = recipe) => ({
  ...most(dice, { role_id: id(dice), roi_id: id(dice) }),
  ...some(dice, { recipe_id: of(dice) }, 0.6),
  ...some(dice, { model_key: id(dice) }, 0.2),
});

const pictureParts = (dice: Dice, { pictures }: World, field: string, most: number): Part[] =>
  Array.from({ length: dice.int(most + 1) }, () => ({
    name: dice.chance(0.95) ? field : dice.pick(hostileTexts),
    value: dice.chance(0.6) ? dice.pick(pictures) : hostilePicture(dice, pictures),
    ...(dice.chance(0.97) && { fileName: dice.chance(0.8) ? 'part 1.png' : dice.pick(hostileTexts) }),
  }));

const textParts = (fields: Readonly<Record<string, string>>): Part[] =>
  Object.entries(fields).map(([name, value]) => ({ name, value }));

const drafts: readonly ((dice: Dice, world: World) => Draft)[] = [
  ...['/health', '/livez', '/readyz', '/openapi.json', '/docs', '/recipes', '/models', '/jobs'].map(
    (path) => (dice: Dice) => ({
      method: dice.chance(0.9) ? 'GET' : dice.pick(methods),
      path,
      query: some(
        dice,
        { recipe_id: recipe(dice), state: dice.pick(hostileTexts), limit: dice.pick(hostileNumbers) },
        0.3,
      ),
    }),
  ),
  ...['/state', '/manifest', '/datasets/list', '/datasets/file', '/datasets/meta', '/datasets/thumbnail'].map(
    (path) => (dice: Dice, world: World) => ({
      method: 'GET',
      path,
      query: { ...names(dice), ...sample(dice, world) },
    }),
  ),
  (dice, world) => ({ method: 'DELETE', path: '/datasets/file', query: { ...names(dice), ...sample(dice, world) } }),
  (dice) => ({
    method: dice.chance(0.2) ? 'DELETE' : 'GET',
    path: dice.chance(0.2) ? '/datasets/clear' : '/datasets/list',
    query: { ...names(dice), label: label(dice) },
  }),
  (dice) => ({
    method: dice.chance(0.5) ? 'POST' : 'GET',
    path: `/models/${encodeURIComponent(wellFormed(id(dice)))}/${encodeURIComponent(wellFormed(id(dice)))}/${dice.pick(['generations', 'rollback', 'rollback'])}`,
    query: some(dice, { recipe_id: recipe(dice), model_key: id(dice) }),
    body: json(dice, {
      generation: dice.chance(0.7) ? 1 + dice.int(4) : numeric(dice, 1),
      ...some(dice, { recipe_id: recipe(dice), model_key: id(dice) }),
    }),
  }),
  (dice) => ({
    method: 'GET',
    path: `/models/${encodeURIComponent(wellFormed(id(dice)))}/${encodeURIComponent(wellFormed(id(dice)))}/health`,
    query: some(dice, { recipe_id: recipe(dice), model_key: id(dice) }),
  }),
  (dice) => ({
    method: dice.pick(['GET', 'GET', 'PUT', 'DELETE']),
    path: `/recipes/${dice.chance(0.9) ? dice.pick(openRecipes) : encodeURIComponent(wellFormed(dice.pick(hostileTexts)))}`,
    query: some(dice, { force: flag(dice) }),
    ...(dice.chance(0.7) && { body: json(dice, { mm_per_px: numeric(dice, 0.1) }) }),
  }),
  (dice, { jobs }) => ({
    method: dice.pick(['GET', 'GET', 'DELETE']),
    path: `/jobs/${jobs.length > 0 && dice.chance(0.8) ? dice.pick(jobs) : encodeURIComponent(wellFormed(dice.pick(hostileTexts)))}${dice.pick(['', '', '/events', '/x'])}`,
  }),
  ...Array.from({ length: 5 }, () => (dice: Dice, world: World) => ({
    method: 'POST',
    path: '/infer',
    body: form(dice, [
      ...textParts({
        ...names(dice),
        ...most(dice, { mm_per_px: number(dice, '0.1') }),
        ...some(dice, {
          shape: shape(dice),
          include_heatmap: flag(dice),
          explain: flag(dice),
          score_p_value: flag(dice),
        }),
      }),
      ...(dice.chance(0.8)
        ? [
            {
              name: 'image',
              value: dice.chance(0.5) ? dice.pick(world.pictures) : hostilePicture(dice, world.pictures),
              fileName: 'a.png',
            },
          ]
        : pictureParts(dice, world, 'image', 3)),
    ]),
  })),
  ...Array.from({ length: 2 }, () => (dice: Dice, world: World) => ({
    method: 'POST',
    path: '/fit_ok',
    body: form(dice, [
      ...textParts({
        ...names(dice, recipeOrKept),
        ...most(dice, { mm_per_px: number(dice, '0.1') }),
        ...some(
          dice,
          {
            shape: shape(dice),
            memory_fit: flag(dice),
            use_dataset: flag(dice),
            positions: flag(dice),
            score_mode: dice.pick(['percentile', 'top_share', 'x']),
          },
          0.25,
        ),
      }),
      ...(dice.chance(0.5)
        ? [0, 1].map((i) => ({ name: 'images', value: world.pictures[i] as Buffer, fileName: `${i}.png` }))
        : pictureParts(dice, world, 'images', 3)),
    ]),
  })),
  ...Array.from({ length: 3 }, () => (dice: Dice, world: World) => {
    const pictures = pictureParts(dice, world, 'images', 3);
    const metas = dice.chance(0.5)
      ? []
      : pictures.map(() => ({ name: dice.pick(['metas', 'metas', 'metas[]']), value: metaText(dice) }));
    return {
      method: 'POST',
      path: `/datasets/${dice.chance(0.95) ? dice.pick(['ok', 'ng']) : 'xx'}/upload`,
      body: form(dice, [...textParts(names(dice, recipeOrKept)), ...pictures, ...metas]),
    };
  }),
  (dice) => ({
    method: 'POST',
    path: '/calibrate_ng',
    body: json(dice, {
      ...names(dice),
      ok_scores: scores(dice),
      ...(dice.chance(0.5) && { ng_scores: scores(dice) }),
      ...(dice.chance(0.1) && { use_leave_one_out: true }),
      ...thresholdRule(dice),
    }),
  }),
  (dice) => ({
    method: 'POST',
    path: dice.pick(['/calibrate_dataset', '/infer_dataset', '/datasets/review']),
    body: json(dice, {
      ...names(dice),
      ...(dice.chance(0.5) && { require_ng: false }),
      ...(dice.chance(0.2) && { labels: dice.pick([['ok'], ['ng', 'ok'], ['x'], 'ok', [null]]) }),
      ...(dice.chance(0.2) && { default_mm_per_px: numeric(dice, 0.1) }),
      ...thresholdRule(dice),
    }),
  }),
  (dice) => ({ method: dice.pick(methods), path: dice.pick(hostilePaths) }),
];

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND'] as const;

const hostilePaths = [
  '/',
  '//',
  '/../../etc/passwd',
  '/%2e%2e/%2e%2e/etc/passwd',
  '/docs/../package.json',
  '/docs/%2e%2e%2fpackage.json',
  '/infer/',
  '/INFER',
  '/%',
  '/%ff',
  '/%00',
  '/models/a/b/c/health',
  '/models//x/health',
  '/recipes/%ff',
  '/jobs/%00',
  'http://evil.example/health',
  '*',
  `/${'x'.repeat(9000)}`,
  `/health?${'a=1&'.repeat(2000)}`,
  '/health?recipe_id[]=x&recipe_id=y',
  '/health;x=1',
  '/health#x',
] as const;

function sample(dice: Dice, { samples }: World): Record<string, string> {
  const filename = samples.length > 0 && dice.chance(0.6) ? dice.pick(samples) : dice.pick(hostileTexts);
  return { ...most(dice, { label: label(dice), filename }), ...some(dice, { max_side: number(dice, '64') }, 0.3) };
}

function numeric(dice: Dice, usual: number): unknown {
  return dice.chance(0.8) ? usual : dice.pick([0, -1, 1e308, 1e-320, '0.1', null, true, [], {}, 2 ** 53]);
}

function scores(dice: Dice): unknown {
  const list = Array.from({ length: dice.int(12) }, () => numeric(dice, dice.int(100) / 100));
  return dice.chance(0.9) ? list.filter((score) => dice.chance(0.2) || typeof score === 'number') : numeric(dice, 1);
}

function thresholdRule(dice: Dice): Record<string, unknown> {
  const rule = {
    mm_per_px: 0.1,
    area_mm2_thr: 1,
    score_percentile: 99,
    max_overkill: 0.4,
    confidence: 0.5,
    review_threshold: 0.1,
  };
  return Object.fromEntries(
    Object.entries(rule).flatMap(([name, usual]) => (dice.chance(0.2) ? [[name, numeric(dice, usual)]] : [])),
  );
}

function metaText(dice: Dice): string {
  const text = JSON.stringify({
    ...some(dice, { filename: dice.pick(hostileTexts), note: dice.pick(hostileTexts), label: label(dice) }),
    ...(dice.chance(0.3) && { mm_per_px: numeric(dice, 0.1) }),
    ...(dice.chance(0.3) && {
      shape: dice.chance(0.5) ? shape(dice) : { kind: 'circle', cx: 5, cy: 5, r: numeric(dice, 5) },
    }),
    ...(dice.chance(0.1) && { okng: { sha256: 'x' } }),
  });
  return dice.pick([
    text,
    text,
    text,
    '',
    'null',
    '[]',
    `{"__proto__":{"a":1},"a":${'['.repeat(3000)}${']'.repeat(3000)}}`,
  ]);
}

/** JSON, sometimes with something in it that is none. */
function json(dice: Dice, value: unknown): Body {
  const text = JSON.stringify(value);
  const changed = dice.chance(0.75)
    ? text
    : dice.pick([
        () => text.replace(/:[^,}]*/, `:${dice.pick(hostileNumbers)}`),
        () => text.replace(/"[^"]*"/, `"${dice.pick(['\\ud800', '\\u0000', '__proto__'])}"`),
        () => `${'['.repeat(50_000)}${text}`,
        () => `{"a":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`,
        () => `\ufeff${text}`,
        () => text + text,
        () => dice.pick(['null', '7', '""', '[]', '[1]', 'true']),
        () => text.replaceAll('"', "'"),
      ])();
  const bytes = dice.chance(0.05) ? mutated(dice, Buffer.from(changed)) : Buffer.from(changed);
  return { type: dice.chance(0.95) ? 'application/json' : dice.pick(['text/plain', 'multipart/form-data', '']), bytes };
}

/** A form as browsers and .NET write it, sometimes as nobody does. */
function form(dice: Dice, parts: readonly Part[]): Body {
  const boundary = dice.chance(0.9)
    ? 'fuzz-boundary'
    : dice.pick(['a', "'()+_,-./:=?", 'b'.repeat(70), 'c'.repeat(300)]);
  const line = dice.chance(0.98) ? '\r\n' : '\n';
  const pieces = parts.flatMap(({ name, value, fileName }) => {
    const bare = dice.chance(0.3) && /^[\w[\]]+$/.test(name);
    const disposition = [
      'Content-Disposition: form-data',
      dice.chance(0.99) ? `name=${bare ? name : `"${name}"`}` : 'nom=x',
      ...(fileName === undefined ? [] : [`filename="${fileName}"`]),
      ...(fileName !== undefined && dice.chance(0.1)
        ? [`filename*=${dice.pick(["utf-8''%C3%A4.png", "x'y'%ff", '%'])}`]
        : []),
    ].join('; ');
    const headers = [
      disposition,
      ...(dice.chance(0.3)
        ? [
            `Content-Type: ${dice.pick(['text/plain; charset=utf-8', 'image/png', 'application/json', 'application/octet-stream', 'text/plain; charset=utf-16le', ';', 'x'.repeat(300)])}`,
          ]
        : []),
      ...(dice.chance(0.03)
        ? [
            dice.pick([
              'X: y',
              `X: ${'y'.repeat(17_000)}`,
              'Content-Transfer-Encoding: base64',
              disposition,
              ': x',
              'X',
            ]),
          ]
        : []),
    ];
    return [
      Buffer.from(`--${boundary}${line}${headers.join(line)}${line}${line}`),
      Buffer.from(value as string),
      Buffer.from(line),
    ];
  });
  const end = dice.chance(0.97)
    ? `--${boundary}--${line}`
    : dice.pick(['', `--${boundary}`, `--${boundary}-`, `--${boundary}--x`]);
  const whole = Buffer.concat([...pieces, Buffer.from(end)]);
  const quoted = dice.chance(0.3) ? `"${boundary}"` : boundary;
  const type = dice.chance(0.97)
    ? `multipart/form-data; boundary=${quoted}`
    : dice.pick([
        'multipart/form-data',
        'multipart/mixed; boundary=x',
        'multipart/form-data; boundary=',
        'text/plain',
        '',
      ]);
  return { type, bytes: dice.chance(0.08) ? mutated(dice, whole) : whole };
}

/** Text that a percent-encoding can stand for. */
function wellFormed(text: string): string {
  return text.isWellFormed() ? text : '%ED%A0%80';
}

interface Head {
  readonly bytes: Buffer;
  readonly isChunked: boolean;
  readonly isMangled: boolean;
}

function headOf(dice: Dice, { method, path, query = {}, body }: Draft): Head {
  const pairs = Object.entries(query).map(([name, value]) => {
    const text = dice.chance(0.97) ? encodeURIComponent(wellFormed(value)) : value.replace(/[\s\0]/g, '+');
    return `${name}=${text}`;
  });
  const target =
    pairs.length === 0 ? path : `${path}?${dice.chance(0.05) ? [...pairs, ...pairs].join('&') : pairs.join('&')}`;
  const isChunked = body !== undefined && dice.chance(0.1);
  const length = body?.bytes.length ?? 0;
  const lies = dice.chance(0.02);
  const headers = [
    `Host: ${dice.chance(0.97) ? '127.0.0.1' : dice.pick(['evil.example', 'a b', '', '[::1', 'localhost:99999', 'okng'])}`,
    'Connection: close',
    ...(body !== undefined && body.type !== '' ? [`Content-Type: ${body.type}`] : []),
    ...(isChunked
      ? ['Transfer-Encoding: chunked']
      : body === undefined
        ? []
        : [
            `Content-Length: ${lies ? dice.pick([0, length + 1, length - 1, 99_999_999_999, '-1', '1e3', '0x10', `${length}, ${length}`]) : length}`,
          ]),
    ...Object.entries(oddHeaders).flatMap(([name, values]) =>
      dice.chance(0.06) ? [`${name}: ${dice.pick(values)}`] : [],
    ),
    ...(dice.chance(0.01)
      ? [
          dice.pick([
            'Transfer-Encoding: gzip, chunked',
            'X',
            ': x',
            `X: ${'x'.repeat(20_000)}`,
            'Content-Length: 5',
            ...Array(3).fill('X: a\r\n b'),
          ]),
        ]
      : []),
  ];
  const text = `${method} ${target} HTTP/1.${dice.chance(0.97) ? 1 : 0}\r\n${headers.join('\r\n')}\r\n\r\n`;
  // What is not sent as it should be may be cut anywhere by what it says.
  const isMangled =
    lies ||
    /\r\n(X|: x)\r\n|gzip, chunked|Content-Length: 5\r\n|^(TRACE|CONNECT)/.test(text) ||
    !/^[\x21-\x7e]+ [\x21-\x7e]+ /.test(text);
  return { bytes: Buffer.from(text, dice.chance(0.5) ? 'latin1' : 'utf8'), isChunked, isMangled };
}

const headerTexts = hostileTexts.map((text) => text.replace(/[\r\n\0]/g, ' '));
const oddHeaders: Readonly<Record<string, readonly string[]>> = {
  'X-Request-Id': headerTexts,
  'X-Recipe-Id': [...openRecipes, ...headerTexts],
  Prefer: ['respond-async', 'respond-async; wait=10', 'x=,;"', 'handling=lenient, respond-async'],
  'Idempotency-Key': ['"k1"', 'k1', 'k2', '"', '"\\"', ...headerTexts],
  'Content-Encoding': ['gzip', 'br', 'deflate', 'identity', 'x, y', ''],
  Expect: ['100-continue', '200-ok'],
  Origin: ['http://127.0.0.1', 'http://evil.example', 'null', ':'],
  Authorization: ['Bearer x', 'Basic eDp5', ''],
  'Last-Event-ID': ['end', '1', 'x'],
  Upgrade: ['websocket', 'h2c'],
  Accept: ['*/*', 'text/html', 'x'.repeat(3000)],
  Range: ['bytes=0-1', 'bytes=-'],
  'If-None-Match': ['*'],
  Cookie: ['a=b'],
};

function chunked(dice: Dice, body: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const length = Math.min(body.length - at, 1 + dice.int(5000));
    pieces.push(Buffer.from(`${length.toString(16)}\r\n`), body.subarray(at, at + length), Buffer.from('\r\n'));
    at += length;
  }
  return Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')]);
}
