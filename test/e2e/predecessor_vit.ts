import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeImage } from '../../src/images/decode.ts';
import { prepareInput } from '../../src/images/letterbox.ts';
import { grid, preprocessing } from '../golden/reference_run.ts';
import { openReferenceVit } from '../golden/reference_vit.ts';
import { readSafetensors } from '../golden/safetensors.ts';
import { sharedFile } from '../npy.ts';
import { runPython } from '../store/python_with.ts';

/** numpy's and FAISS's part: the rows that the reference chose, at unit length, without a word about who made them. */
const writeModel = `
import sys, os, json, base64, numpy as np, faiss
shared, tokens, root = sys.argv[1:]
b64 = lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')
golden = json.load(open(os.path.join(shared, 'golden.json')))
rows = np.concatenate([np.load(os.path.join(shared, 'tok_ok0.npy')).reshape(-1, 1152),
                       np.fromfile(tokens, np.float32).reshape(-1, 1152)])
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
emb = np.ascontiguousarray(rows[golden['coreset']['idx']], np.float32)
path = os.path.join(root, 'recipes', 'gold', 'whole', b64('golden') + '__' + b64('whole'))
np.savez(path + '.npz', emb=emb, token_h=np.int64(32), token_w=np.int64(32), metadata=np.array(json.dumps({'input_size': 448})))
index = faiss.IndexFlatL2(1152)
index.add(emb)
faiss.write_index(index, path + '_index.faiss')
threshold = golden['images']['test_ng']['runs']['none']['threshold']
json.dump({'threshold': threshold, 'area_mm2_thr': 1.0, 'mm_per_px': 0.2}, open(path + '_calib.json', 'w'))
json.dump({'mm_per_px': 0.2}, open(os.path.join(root, 'recipes', 'gold', 'recipe_meta.json'), 'w'))
`;

/**
 * Writes a predecessor's models folder with the reference memory (role `golden`, ROI `whole`, recipe `gold`), calibrated with
 * the threshold of the reference. The reference's tokens of its second and third good picture are not kept, so its network
 * is run on them; `test/golden/` compares that network with it.
 */
export async function writePredecessorVit(root: string, python: string): Promise<void> {
  const vit = await openReferenceVit(readSafetensors(sharedFile('golden/weights.safetensors')), grid, 2);
  const tokens: Uint8Array[] = [];
  for (const name of ['ok1', 'ok2']) {
    const bytes = new Uint8Array(readFileSync(sharedFile(`golden/${name}.png`)));
    const { input } = prepareInput(await decodeImage(bytes, { name, maxPixels: 1e6 }), preprocessing);
    const { data } = await vit.tokens(input.data);
    tokens.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  await vit.dispose();
  mkdirSync(join(root, 'recipes', 'gold', 'whole'), { recursive: true });
  const file = join(root, '..', 'tokens');
  writeFileSync(file, Buffer.concat(tokens));
  runPython(python, writeModel, sharedFile('golden'), file, root);
}
