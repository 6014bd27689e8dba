import { workerData } from 'piscina';
import { createNetworkSteps, type NetworkSettings } from './network_steps.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import type { EmbeddedPicture, PreparedPicture } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<NetworkSettings>;
const settle = settleUntil(closing);
const steps = createNetworkSteps(settings);

const embeddingsOf = ({ embeddings }: EmbeddedPicture) => [embeddings.data];

export const embed = async (picture: PreparedPicture) =>
  moved(await settle(() => steps.embed(withOwnInput(picture))), embeddingsOf);

export const extract = async (picture: PreparedPicture) =>
  moved(await settle(() => steps.extract(withOwnInput(picture))), embeddingsOf);

let ownInput = new Float32Array(0);

/** ONNX Runtime takes no shared memory, so the picture is copied, always to the same place: one runs at a time. */
function withOwnInput(picture: PreparedPicture): PreparedPicture {
  const { data } = picture.input;
  if (data.length !== ownInput.length) ownInput = new Float32Array(data.length);
  ownInput.set(data);
  return { ...picture, input: { ...picture.input, data: ownInput } };
}

export const warm = () => settle(() => steps.warm());
