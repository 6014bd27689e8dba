import { workerData } from 'piscina';
import type { MemoryAddress } from '../store/model_store.ts';
import { createNetworkSteps, type NetworkSettings } from './network_steps.ts';
import { settleUntil, type WorkerStart } from './outcome.ts';
import type { PreparedPicture } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<NetworkSettings>;
// Results are copied: once an array was moved out of a thread, V8 checks at every access to any array there whether it is
// still there, which makes pixel loops half as fast again.
const settle = settleUntil(closing);
const steps = createNetworkSteps(settings);

interface MeasureTask {
  readonly picture: PreparedPicture;
  readonly memory: MemoryAddress;
  readonly matches: boolean;
}

export const embed = (picture: PreparedPicture) => settle(() => steps.embed(withOwnInput(picture)));

export const measure = ({ picture, memory, matches }: MeasureTask) =>
  settle(() => steps.measure(withOwnInput(picture), memory, matches));

let ownInput = new Float32Array(0);

/** ONNX Runtime takes no shared memory, so the picture is copied, always to the same place: one runs at a time. */
function withOwnInput(picture: PreparedPicture): PreparedPicture {
  const { data } = picture.input;
  if (data.length !== ownInput.length) ownInput = new Float32Array(data.length);
  ownInput.set(data);
  return { ...picture, input: { ...picture.input, data: ownInput } };
}

export const describe = (memory: MemoryAddress) => settle(() => steps.describe(memory));

export const warm = () => settle(() => steps.warm());
