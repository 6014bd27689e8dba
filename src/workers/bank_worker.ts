import { workerData } from 'piscina';
import type { MemoryAddress } from '../store/model_store.ts';
import { type BankSettings, createBankSteps } from './bank_steps.ts';
import type { ExtractedPicture } from './extracted_picture.ts';
import { settleUntil, type WorkerStart } from './outcome.ts';

const { settings, closing } = workerData as WorkerStart<BankSettings>;
// Results are copied: once an array was moved out of a thread, V8 checks at every access to any array there whether it is
// still there, with which loops take half as long again.
const settle = settleUntil(closing);
const steps = createBankSteps(settings);

interface SearchTask {
  readonly picture: ExtractedPicture;
  readonly memory: MemoryAddress;
  readonly matches: boolean;
}

export const search = ({ picture, memory, matches }: SearchTask) =>
  settle(() => steps.search(picture, memory, matches));

export const describe = (memory: MemoryAddress) => settle(() => steps.describe(memory));

export const warm = () => settle(() => steps.warm());
