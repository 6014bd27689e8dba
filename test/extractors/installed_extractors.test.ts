import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseExtractor, listInstalledExtractors, openExtractor } from '../../src/extractors/installed_extractors.ts';
import type { ModelCardJson } from '../../src/extractors/model_card.ts';
import { tokenCard, writeCard } from './model_card_file.ts';
import { noisePicture } from './noise_picture.ts';

let modelsDir: string;
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-models-'));
});
afterEach(() => rm(modelsDir, { recursive: true, force: true }));

const cardPath = (folder: string) => join(modelsDir, 'extractors', folder, 'card.json');
const install = (folder: string, changes: Partial<ModelCardJson> = {}) =>
  writeCard(cardPath(folder), tokenCard({ name: folder, ...changes }));

describe('before anything is opened', () => {
  it('has not loaded ONNX Runtime; opening does', async () => {
    const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes('onnxruntime'));
    await install('tiny');
    await chooseExtractor({ modelsDir });
    const { source } = await chooseExtractor({ modelsDir, wanted: 'tiny' });
    expect(loaded()).toBe(false);
    await openExtractor(source, { threads: 1 }).then((extractor) => extractor.dispose());
    expect(loaded()).toBe(true);
  });
});

describe('listInstalledExtractors', () => {
  it('finds nothing in an empty or absent folder', async () => {
    const nothing = { installed: [], withoutWeights: [], broken: [] };
    expect(await listInstalledExtractors(modelsDir)).toEqual(nothing);
    expect(await listInstalledExtractors(join(modelsDir, 'absent'))).toEqual(nothing);
  });

  it('tells installed, without weights and broken apart, and passes over what is no card', async () => {
    await install('b_tiny');
    await install('a_tiny');
    await writeCard(cardPath('bare'), tokenCard({ name: 'bare' }), null);
    await writeCard(cardPath('torn'), '{', null);
    await writeCard(join(modelsDir, 'extractors', 'notes', 'readme.json'), '{}', null);
    await writeFile(join(modelsDir, 'extractors', 'file.txt'), '');
    const { installed, withoutWeights, broken } = await listInstalledExtractors(modelsDir);
    expect(installed.map(({ card }) => card.name)).toEqual(['a_tiny', 'b_tiny']);
    expect(installed[0]?.cardPath).toBe(cardPath('a_tiny'));
    expect(withoutWeights.map(({ card }) => card.name)).toEqual(['bare']);
    expect(broken.map(({ folder, problem }) => [folder, problem.code])).toEqual([['torn', 'invalid_model_card']]);
  });

  it('gives a name to one card only, and ours to none', async () => {
    await install('a', { name: 'same' });
    await install('b', { name: 'same' });
    await install('c', { name: 'embedded' });
    const { installed, broken } = await listInstalledExtractors(modelsDir);
    expect(installed.map((item) => item.cardPath)).toEqual([cardPath('a')]);
    expect(broken.map(({ folder }) => folder)).toEqual(['b', 'c']);
    expect(broken[0]?.problem.message).toMatch(/name same, which belongs to a;/);
  });
});

describe('chooseExtractor', () => {
  it('takes the embedded one where nothing is installed, or where it is asked for', async () => {
    for (const wanted of [undefined, 'embedded', 'embedded_filter_bank']) {
      const chosen = await chooseExtractor({ modelsDir, ...(wanted !== undefined && { wanted }) });
      expect(chosen.source).toEqual({ kind: 'embedded' });
      expect(chosen.info.name).toBe('embedded_filter_bank');
    }
    await install('vit_small_patch14_dinov2.lvd142m');
    expect((await chooseExtractor({ modelsDir, wanted: 'embedded' })).source.kind).toBe('embedded');
  });

  it('takes an installed DINOv2 unasked, the small one first, and no other', async () => {
    const chosen = async () => (await chooseExtractor({ modelsDir })).info.name;
    await install('resnet18_imagenet');
    await install('dinov2_of_mine');
    await install('vit_tiny_other');
    await writeCard(cardPath('vit_a_dinov2'), tokenCard({ name: 'vit_a_dinov2' }), null);
    await writeCard(cardPath('vit_b_dinov2'), '{', null);
    expect(await chosen()).toBe('embedded_filter_bank');
    await install('vit_base_patch14_dinov2');
    expect(await chosen()).toBe('vit_base_patch14_dinov2');
    await install('vit_small_patch14_dinov2.lvd142m');
    expect(await chosen()).toBe('vit_small_patch14_dinov2.lvd142m');
  });

  it('takes the path of a card anywhere', async () => {
    const path = await writeCard(join(modelsDir, 'elsewhere', 'my.json'), tokenCard());
    const { source, info } = await chooseExtractor({ modelsDir, wanted: path });
    expect(source).toEqual({ kind: 'onnx', cardPath: path, fingerprint: info.fingerprint });
    expect(info).toMatchObject({ name: 'tiny_tokens', width: null, grid: { rows: 2, cols: 3 } });
  });

  it('gives a source that survives JSON and opens to what was described, input size included', async () => {
    await install('tiny');
    const { source, info } = await chooseExtractor({ modelsDir, wanted: 'tiny', inputSize: 8 });
    expect(info.grid).toEqual({ rows: 4, cols: 4 });
    const extractor = await openExtractor(JSON.parse(JSON.stringify(source)), { threads: 1 });
    expect(extractor.info).toEqual({ ...info, width: 3 });
    expect((await extractor.extract(noisePicture(8, 8, 1))).embeddings.rows).toBe(16);
    await extractor.dispose();
  });

  it('refuses to open a card that was changed after it was chosen', async () => {
    await install('tiny');
    const { source } = await chooseExtractor({ modelsDir, wanted: 'tiny' });
    await install('tiny', { mean: [0.5, 0.5, 0.5] });
    const opening = openExtractor(source, { threads: 1 });
    await expect(opening).rejects.toMatchObject({ code: 'invalid_model_card' });
    await expect(opening).rejects.toThrow(/card of tiny was changed/);
  });

  it('says what is there when a name is unknown', async () => {
    await install('tiny');
    await writeCard(cardPath('bare'), tokenCard({ name: 'bare' }), null);
    await writeCard(cardPath('torn'), '{', null);
    const choosing = chooseExtractor({ modelsDir, wanted: 'resnet' });
    await expect(choosing).rejects.toMatchObject({ code: 'extractor_not_found' });
    await expect(choosing).rejects.toThrow(
      'There is no extractor resnet. Installed: embedded, tiny. Cards without model file: bare. Unusable cards: torn.',
    );
  });

  it('says what is wrong with a wanted card: no weights, broken, not there', async () => {
    await writeCard(cardPath('bare'), tokenCard({ name: 'bare' }), null);
    await writeCard(cardPath('torn'), '{', null);
    const choose = (wanted: string) => chooseExtractor({ modelsDir, wanted });
    for (const wanted of ['bare', cardPath('bare')]) {
      await expect(choose(wanted)).rejects.toMatchObject({ code: 'extractor_not_found' });
      await expect(choose(wanted)).rejects.toThrow(/copy model\.onnx/);
    }
    for (const wanted of ['torn', cardPath('torn')]) {
      await expect(choose(wanted)).rejects.toMatchObject({ code: 'invalid_model_card' });
    }
    await expect(choose('nothing.json')).rejects.toMatchObject({ code: 'extractor_not_found' });
    await expect(choose(cardPath('absent'))).rejects.toThrow(/no readable model card absent\/card\.json/);
  });

  it('refuses an input size that does not fit', async () => {
    await install('tiny');
    await expect(chooseExtractor({ modelsDir, wanted: 'tiny', inputSize: 7 })).rejects.toMatchObject({
      code: 'invalid_config',
    });
  });

  it('goes on with the embedded extractor under an input size it does not have, and says so', async () => {
    const other = await chooseExtractor({ modelsDir, inputSize: 448 });
    expect(other.source).toEqual({ kind: 'embedded' });
    expect(other.notice).toBe('INPUT_SIZE 448 is ignored: the embedded extractor works at 256 pixels only.');
    expect((await chooseExtractor({ modelsDir, inputSize: 256 })).notice).toBeNull();
  });
});
