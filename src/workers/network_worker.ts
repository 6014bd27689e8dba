import { workerData } from 'piscina';
import type { MemoryAddress } from '../store/model_store.ts';
import { createNetworkSteps, type NetworkSettings } from './network_steps.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import type { PreparedPicture } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<NetworkSettings>;
const settle = settleUntil(closing);
const steps = createNetworkSteps(settings);

interface MeasureTask {
  readonly picture: PreparedPicture;
  readonly memory: MemoryAddress;
  readonly matches: boolean;
}

export const embed = async (picture: PreparedPicture) =>
  moved(await settle(() => steps.embed(picture)), ({ embeddings }) => [embeddings.data]);

export const measure = async ({ picture, memory, matches }: MeasureTask) =>
  moved(await settle(() => steps.measure(picture, memory, matches)), ({ distances }) => [distances]);

export const describe = (memory: MemoryAddress) => settle(() => steps.describe(memory));

export const warm = () => settle(() => steps.warm());
