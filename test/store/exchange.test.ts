import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import { createOnnxNeighbors } from '../../src/neighbors/onnx_neighbors.ts';
import { anomalyMap } from '../../src/patchcore/anomaly_map.ts';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import { readModelMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type ModelStore } from '../../src/store/model_store.ts';
import type { ModelKey } from '../../src/store/places.ts';
import { startTestApp, type TestApp } from '../http/test_app.ts';
import { partPictures } from '../parts.ts';
import { pythonWith, runPython } from './python_with.ts';

/** Models exchanged with the predecessor, both ways, by the tools it keeps them with: numpy and FAISS. */

const python = pythonWith('numpy, faiss') ?? '';

const folder = mkdtempSync(join(tmpdir(), 'okng-exchange-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function floats(path: string): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(path)).buffer);
}

/**
 * A models folder in every layout, rows and deflation of each its own. Beside it 20 queries, and for each model FAISS's own
 * nearest distances of them.
 */
const predecessor = `
import sys, os, json, base64, numpy as np, faiss
root, beside = sys.argv[1:]
b64 = lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')
base = b64('Maße') + '__' + b64('roi 1')
rng = np.random.default_rng(0)
unit = lambda n: (lambda a: (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32))(rng.standard_normal((n, 1152)))
queries = unit(20)
queries.tofile(os.path.join(beside, 'queries'))
layouts = [('recipes/line2/k', base, np.savez), ('recipes/default/k', base, np.savez_compressed),
           ('', base, np.savez_compressed), ('', 'Ma_e_roi_1', np.savez)]
for n, (folder, name, save) in enumerate(layouts):
    path = os.path.join(root, folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    emb = unit(50 + n)
    save(path + '.npz', emb=emb, token_h=np.int64(32), token_w=np.int64(32),
         metadata=np.array(json.dumps({'model': 'ViT-S/14', 'input_size': 448, 'größe': n})))
    index = faiss.IndexFlatL2(1152)
    index.add(emb)
    faiss.write_index(index, path + '_index.faiss')
    json.dump({'threshold': n + 0.5, 'p99_ok': 0.25, 'p5_ng': None}, open(path + '_calib.json', 'w'))
    np.sqrt(index.search(queries, 1)[0]).tofile(os.path.join(beside, str(n)))
`;

describe.skipIf(python === '')('a models folder that numpy and FAISS wrote', () => {
  const root = join(folder, 'predecessor');
  const key: ModelKey = { recipeId: 'line2', modelKey: 'k', roleId: 'Maße', roiId: 'roi 1' };
  let models: ModelStore;
  beforeAll(() => {
    runPython(python, predecessor, root, folder);
    models = createModelStore(root);
  });

  it('is served in the contract order, each with the distances of its own FAISS index', async () => {
    for (const [n, below] of ['recipes/line2/k', 'recipes/default/k', '', ''].entries()) await serves(n, below);
    expect((await models.locate(key)).hasMemory).toBe(false);
  });

  /** Removes the memory in the end: the next one is found when this one is gone. */
  async function serves(n: number, below: string): Promise<void> {
    const { place } = await models.locate(key);
    expect(relative(root, place.folder)).toBe(below);
    const memory = await models.readMemory(place);
    expect([memory.bank.rows, memory.bank.cols, memory.grid]).toEqual([50 + n, 1152, { rows: 32, cols: 32 }]);
    expect(memory.metadata).toMatchObject({ größe: n });
    expect(await models.readCalibration(place)).toMatchObject({ threshold: n + 0.5 });

    const neighbors = await createOnnxNeighbors(memory.bank, { threads: 1 });
    const { distances } = await neighbors.search(createMatrix(20, 1152, floats(join(folder, 'queries'))), 1);
    await neighbors.dispose();
    const theirs = floats(join(folder, String(n)));
    for (const [i, distance] of distances.entries()) expect(distance).toBeCloseTo(theirs[i] as number, 5);

    const written = readFileSync(place.indexPath);
    expect(await models.ensureIndex(place, memory)).toBe('good');
    writeFileSync(place.indexPath, written.subarray(0, 1000));
    expect(await models.ensureIndex(place, memory)).toBe('was_damaged');
    rmSync(place.indexPath);
    expect(await models.ensureIndex(place, memory)).toBe('was_missing');
    expect(readFileSync(place.indexPath).equals(written)).toBe(true);
    rmSync(place.npzPath);
  }
});

/** Everything the predecessor asks of a model's files, and the index's nearest distances of another memory's rows, by cell. */
const loads = `
import sys, json, numpy as np, faiss
npz, index, queries, out = sys.argv[1:]
z = np.load(npz, allow_pickle=False)
emb = z['emb']
assert emb.dtype == np.float32 and emb.ndim == 2 and emb.flags['C_CONTIGUOUS']
assert np.abs(np.linalg.norm(emb.astype(np.float64), axis=1) - 1).max() < 1e-5
for name in ('token_h', 'token_w'): assert z[name].dtype == np.int64 and z[name].shape == ()
assert z['metadata'].dtype.kind == 'U' and z['metadata'].shape == ()
metadata = json.loads(str(z['metadata']))
i = faiss.read_index(index)
assert isinstance(i, faiss.IndexFlat) and i.metric_type == faiss.METRIC_L2 and i.is_trained
assert (i.ntotal, i.d) == emb.shape and (i.reconstruct_n(0, i.ntotal) == emb).all()
q = np.load(queries)
rows = q['emb'][np.argsort(q['row_cell'])]
np.sqrt(np.maximum(i.search(rows, 1)[0], 0)).astype(np.float32).tofile(out)
print(*emb.shape, int(z['token_h']), int(z['token_w']), metadata['role_id'], metadata['recipe_id'])
`;

describe.skipIf(python === '')('a model that okng fitted', () => {
  const picture = partPictures('test/scratch')[0] as { name: string; bytes: Uint8Array };
  const keyOf = (recipeId: string): ModelKey => ({ recipeId, modelKey: 'top', roleId: 'Flansch', roiId: 'top' });
  let okng: TestApp;
  let models: ModelStore;

  beforeAll(async () => {
    okng = await startTestApp();
    models = createModelStore(okng.modelsDir);
  });
  afterAll(() => okng.close());

  const learn = (
    key: ModelKey,
    pictures: readonly { name: string; bytes: Uint8Array }[],
    keepAll: boolean,
    positions: boolean,
  ) =>
    okng.service.fit({
      key,
      mmPerPx: 0.1,
      keepAll,
      positions,
      shape: wholePicture,
      pictures: pictures.map(({ name, bytes }) => ({ name, bytes: bytes.slice() })),
    });

  it.each([
    ['default', false],
    ['line2', true],
  ])('is loaded by numpy and FAISS, which find what okng finds: recipe %s', async (recipeId, positions) => {
    const key = keyOf(recipeId);
    const { positionWeight } = await learn(key, partPictures('train/good').slice(0, 6), false, positions);
    expect(positionWeight > 0).toBe(positions);
    // A memory of all patches of one picture stands for what its inspection asks.
    const queries = { ...key, roiId: 'queries', modelKey: 'queries' };
    await learn(queries, [picture], true, false);

    const place = models.ownPlace(key);
    const out = join(folder, `found_${recipeId}`);
    const said = runPython(python, loads, place.npzPath, place.indexPath, models.ownPlace(queries).npzPath, out);
    const memory = await readModelMemory(place.npzPath);
    const { grid } = memory;
    expect(said).toBe(`${memory.bank.rows} ${memory.bank.cols} ${grid.rows} ${grid.cols} Flansch ${recipeId}`);
    if (positions) return;

    const [inspection] = await okng.service.inspectAll([
      {
        key,
        mmPerPx: 0.1,
        picture: { ...picture, bytes: picture.bytes.slice() },
        shape: wholePicture,
        includeHeatmap: false,
        keepMap: true,
      },
    ]);
    const map = inspection?.map ?? null;
    if (map === null) throw new Error('a map was asked for');
    const frame = { top: 0, left: 0, height: grid.rows, width: grid.cols };
    const theirs = anomalyMap(floats(out), grid, frame, map, 1);
    let worst = 0;
    for (const [i, value] of theirs.data.entries()) worst = Math.max(worst, Math.abs(value - (map.data[i] as number)));
    expect(map.data.some((value) => value > 0.1)).toBe(true);
    expect(worst).toBeLessThan(1e-4);
  });
});
