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

export const embed = (picture: PreparedPicture) => settle(() => steps.embed(picture));

export const measure = ({ picture, memory, matches }: MeasureTask) =>
  settle(() => steps.measure(picture, memory, matches));

export const describe = (memory: MemoryAddress) => settle(() => steps.describe(memory));

export const warm = () => settle(() => steps.warm());
