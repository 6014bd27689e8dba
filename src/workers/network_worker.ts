import { workerData } from 'piscina';
import type { MemoryAddress } from '../store/model_store.ts';
import { createNetworkSteps, type NetworkSettings } from './network_steps.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import type { PreparedPicture } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<NetworkSettings>;
const settle = settleUntil(closing);
const steps = createNetworkSteps(settings);

export const embed = async (picture: PreparedPicture) =>
  moved(await settle(() => steps.embed(picture)), ({ embeddings }) => [embeddings.data]);

export const measure = async ({ picture, memory }: { picture: PreparedPicture; memory: MemoryAddress }) =>
  moved(await settle(() => steps.measure(picture, memory)), ({ distances }) => [distances]);

export const describe = (memory: MemoryAddress) => settle(() => steps.describe(memory));

export const warm = () => settle(() => steps.warm());
