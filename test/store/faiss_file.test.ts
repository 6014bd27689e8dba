import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import { decodeFlatL2, encodeFlatL2 } from '../../src/store/faiss_file.ts';
import { pythonWith, runPython } from './python_with.ts';

const fileName = 'YQ__Yg_index.faiss';
const matrix = createMatrix(3, 2, Float32Array.of(1, 0, 0, 1, 0.5, -2));

function changed(change: (file: DataView) => void): Uint8Array {
  const file = encodeFlatL2(matrix);
  change(new DataView(file.buffer));
  return file;
}

describe('encodeFlatL2 and decodeFlatL2', () => {
  it('give back the rows', () => {
    expect(decodeFlatL2(encodeFlatL2(matrix), fileName)).toEqual(matrix);
    const empty = createMatrix(0, 5, new Float32Array(0));
    expect(decodeFlatL2(encodeFlatL2(empty), fileName)).toEqual(empty);
  });

  it('refuses a file cut off at any byte, or longer', () => {
    const file = encodeFlatL2(matrix);
    for (let length = 0; length < file.length; length++) {
      expect(() => decodeFlatL2(file.slice(0, length), fileName)).toThrow(
        expect.objectContaining({ code: 'damaged_file' }),
      );
    }
    expect(() => decodeFlatL2(Buffer.concat([file, Buffer.of(0)]), fileName)).toThrow(/25 bytes follow/);
  });

  it.each<[string, (file: DataView) => void, RegExp]>([
    ['another kind of index', (file) => file.setUint8(3, 0x49), /"IxFI" instead of 'IxF2'/],
    ['no columns', (file) => file.setInt32(4, 0, true), /3 rows of 0/],
    ['negative columns', (file) => file.setInt32(4, -2, true), /rows of -2/],
    ['negative rows', (file) => file.setBigInt64(8, -3n, true), /-3 rows/],
    ['huge rows', (file) => file.setBigInt64(8, 2n ** 62n, true), /claims/],
    [
      'huge rows and count',
      (file) => {
        file.setBigInt64(8, 2n ** 61n, true);
        file.setBigUint64(37, 2n ** 62n, true);
      },
      /24 bytes follow/,
    ],
    ['untrained', (file) => file.setUint8(32, 0), /trained flag 0/],
    ['inner product', (file) => file.setInt32(33, 0, true), /metric is 0/],
    ['another count', (file) => file.setBigUint64(37, 5n, true), /5 numbers/],
  ])('refuses %s', (_, change, text) => {
    expect(() => decodeFlatL2(changed(change), fileName)).toThrow(
      expect.objectContaining({ code: 'damaged_file', message: expect.stringMatching(text) }),
    );
  });
});

const faiss = pythonWith('faiss');

describe.skipIf(faiss === undefined)('FAISS', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'okng-faiss-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads ours and finds neighbours in it', async () => {
    const path = join(folder, 'ours.faiss');
    await writeFile(path, encodeFlatL2(matrix));
    const script = `
import sys, faiss, numpy as np
i = faiss.read_index(sys.argv[1])
d, n = i.search(np.array([[0, 1.5]], np.float32), 3)
print(isinstance(i, faiss.IndexFlat), i.d, i.ntotal, i.metric_type == faiss.METRIC_L2, n.tolist(), d.tolist())`;
    expect(runPython(faiss ?? '', script, path)).toBe('True 2 3 True [[1, 0, 2]] [[0.25, 3.25, 12.5]]');
  });

  it('is read as it writes, and equals ours byte for byte', async () => {
    const path = join(folder, 'theirs.faiss');
    const script = `
import sys, faiss, numpy as np
i = faiss.IndexFlatL2(2); i.add(np.array([[1, 0], [0, 1], [0.5, -2]], np.float32)); faiss.write_index(i, sys.argv[1])`;
    runPython(faiss ?? '', script, path);
    const theirs = new Uint8Array(await readFile(path));
    expect(decodeFlatL2(theirs, fileName)).toEqual(matrix);
    expect(theirs).toEqual(encodeFlatL2(matrix));
  });
});
