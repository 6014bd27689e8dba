import { describe, expect, it } from 'vitest';
import {
  carryByHand,
  publishedWeights,
  publishedWeightsNames,
  weightsUrl,
} from '../../src/downloads/published_weights.ts';

const small = publishedWeights('dinov2-small');

/** Float32 bytes of a DINOv2 vision transformer with patches of 14, positions for 37 × 37, mask token, layer scales. */
function vitBytes(width: number, blocks: number, registers: number): number {
  const block = 12 * width ** 2 + 13 * width + 2 * width;
  const embedding = 3 * 14 ** 2 * width + width + (37 ** 2 + 1) * width + width + width + registers * width;
  return 4 * (blocks * block + embedding + 2 * width);
}

describe('published weights', () => {
  it('begin with the small one', () => {
    expect(publishedWeightsNames).toEqual([
      'dinov2-small',
      'dinov2-base',
      'dinov2-large',
      'dinov2-with-registers-small',
      'dinov2-with-registers-base',
      'dinov2-with-registers-large',
    ]);
  });

  it('lie where the publisher has them', () => {
    expect(weightsUrl(small)).toBe('https://huggingface.co/facebook/dinov2-small/resolve/main/model.safetensors');
    expect(small.page).toBe('https://huggingface.co/facebook/dinov2-small');
    expect(small.folder).toBe('vit_small_patch14_dinov2.lvd142m');
  });

  it.each(publishedWeightsNames)('%s: a folder of its own, as large as the network', (name) => {
    const weights = publishedWeights(name);
    const folders = publishedWeightsNames.map((each) => publishedWeights(each).folder);
    expect(folders.filter((folder) => folder === weights.folder)).toHaveLength(1);
    expect(weights.folder).toMatch(/^vit_.*dinov2/);
    const [width, blocks] = { small: [384, 12], base: [768, 12], large: [1024, 24] }[
      name.split('-').at(-1) as 'small'
    ] as [number, number];
    const bytes = vitBytes(width, blocks, name.includes('registers') ? 4 : 0);
    expect(Math.abs(weights.approximateBytes / bytes - 1)).toBeLessThan(0.01);
  });

  it('that do not exist are told with those that do', () => {
    expect(() => publishedWeights('dinov3')).toThrow(
      expect.objectContaining({ code: 'invalid_value', message: expect.stringContaining('dinov2-small, dinov2-base') }),
    );
  });

  it.each([
    ['https://hf-mirror.com', 'https://hf-mirror.com'],
    ['https://hf-mirror.com/', 'https://hf-mirror.com'],
    [' http://nas.plant/hf// ', 'http://nas.plant/hf'],
    ['https://me:pw@repo.plant/api/hf', 'https://me:pw@repo.plant/api/hf'],
  ])('come from the mirror %j', (mirror, base) => {
    expect(weightsUrl(small, mirror)).toBe(`${base}/facebook/dinov2-small/resolve/main/model.safetensors`);
  });

  it.each(['', 'hf-mirror.com', 'ftp://me:secret@nas', 'https://host/?a=b', 'https://host/#a'])(
    'do not come from the mirror %j',
    (mirror) => {
      const url = () => weightsUrl(small, mirror);
      expect(url).toThrow(expect.objectContaining({ code: 'invalid_config' }));
      expect(url).not.toThrow(/secret/);
    },
  );

  it('can be carried by hand: from where, how much, under what licence', () => {
    expect(carryByHand(small)).toMatch(
      /https:\/\/huggingface\.co\/facebook\/dinov2-small\/resolve\/main\/model\.safetensors \(88 MB, Apache-2\.0, .*model\.safetensors/,
    );
  });
});
