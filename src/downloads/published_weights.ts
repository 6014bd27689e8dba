import { InspectionError } from '../errors.ts';

/** Where the weights are published; a mirror takes its place (the convention of Hugging Face's `HF_ENDPOINT`). */
export const publisherBase = 'https://huggingface.co';

/** A weights file as its publisher offers it. */
export interface PublishedWeights {
  /** What users call it. */
  readonly name: string;
  /** Below the publisher's base or a mirror's: begins with a slash, and names the file for good. */
  readonly path: string;
  /** The publisher's page about it, with the licence. */
  readonly page: string;
  /** SPDX name of the licence the page states. */
  readonly licence: string;
  /** To the nearest MB or so, for people and progress bars. */
  readonly approximateBytes: number;
  /** Of the folder below `<modelsDir>/extractors` that it belongs in: timm's name of the network, as `/health` tells it. */
  readonly folder: string;
  readonly fileName: string;
}

/**
 * DINOv2 (Oquab et al. 2023, arXiv:2304.07193) by Meta AI, and the same trained with four register tokens (Darcet et al.
 * 2023, arXiv:2309.16588): float32, without heads.
 */
const catalogue: readonly PublishedWeights[] = [
  dinov2('dinov2-small', 'vit_small_patch14_dinov2.lvd142m', 88_250_000),
  dinov2('dinov2-base', 'vit_base_patch14_dinov2.lvd142m', 346_000_000),
  dinov2('dinov2-large', 'vit_large_patch14_dinov2.lvd142m', 1_218_000_000),
  dinov2('dinov2-with-registers-small', 'vit_small_patch14_reg4_dinov2.lvd142m', 88_250_000),
  dinov2('dinov2-with-registers-base', 'vit_base_patch14_reg4_dinov2.lvd142m', 346_000_000),
  dinov2('dinov2-with-registers-large', 'vit_large_patch14_reg4_dinov2.lvd142m', 1_218_000_000),
];

function dinov2(name: string, folder: string, approximateBytes: number): PublishedWeights {
  return {
    name,
    path: `/facebook/${name}/resolve/main/model.safetensors`,
    page: `${publisherBase}/facebook/${name}`,
    licence: 'Apache-2.0',
    approximateBytes,
    folder,
    fileName: 'model.safetensors',
  };
}

/** Names for {@link publishedWeights}, the first of them the one to begin with. */
export const publishedWeightsNames: readonly string[] = catalogue.map(({ name }) => name);

/** @throws InspectionError `invalid_value` with the names there are */
export function publishedWeights(name: string): PublishedWeights {
  const found = catalogue.find((weights) => weights.name === name);
  if (found !== undefined) return found;
  throw new InspectionError(
    'invalid_value',
    `There are no published weights ${JSON.stringify(name)}; choose one of ${publishedWeightsNames.join(', ')}.`,
  );
}

/**
 * Where to download from.
 *
 * @param mirror http(s) address that stands in for {@link publisherBase}, with a path of its own if it likes
 * @throws InspectionError `invalid_config` for a mirror that is no such address
 */
export function weightsUrl({ path }: PublishedWeights, mirror: string = publisherBase): string {
  const base = mirror.trim().replace(/\/+$/, '');
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if ((url?.protocol !== 'https:' && url?.protocol !== 'http:') || url.search !== '' || url.hash !== '') {
    throw new InspectionError(
      'invalid_config',
      `The mirror '${mirror.replace(/^.*@/, '')}' cannot be used; it must look like ${publisherBase}: https:// (or http://), a host, perhaps a path.`,
    );
  }
  return base + path;
}

/** How the file gets into a plant without internet, for people; what to do with the file then is the caller's to say. */
export function carryByHand(weights: PublishedWeights): string {
  const megabytes = Math.round(weights.approximateBytes / 1e6);
  return (
    `Without internet here: on a machine that has it, open ${weightsUrl(weights)} ` +
    `(${megabytes} MB, ${weights.licence}, see ${weights.page}), save it as ${weights.fileName}, ` +
    'and bring that file here on a stick or a shared drive.'
  );
}
