import { afterEach, beforeEach, expect, it } from 'vitest';
import { inspectImage } from '../../src/inspection/inspect_image.ts';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const learned = () => [toyPicture(0, 30, 60, 90), toyPicture(1, 31, 61, 91)];

it('tells whether the memory was fitted from the very bytes, whatever they are called', async () => {
  await toy.fit({ pictures: learned() });
  for (const { bytes } of learned())
    expect((await toy.inspect({ picture: { name: 'renamed', bytes } })).inMemory).toBe(true);
  const [{ name }] = learned() as [ReturnType<typeof toyPicture>];
  const other = { ...toyPicture(0, 30, 60, 89), name };
  expect((await toy.inspect({ picture: other })).inMemory).toBe(false);
});

it('forgets the pictures of a memory that was replaced', async () => {
  await toy.fit({ pictures: learned() });
  await toy.fit({ pictures: [toyPicture(5, 35, 65, 95)] });
  const [picture] = learned();
  expect((await toy.inspect(picture && { picture })).inMemory).toBe(false);
});

it('does not guess where the memory does not say what it was fitted from', async () => {
  await toy.fit({ pictures: learned() });
  const known = await toy.memories.at(toy.models.ownPlace(key));
  const pictures = known?.memory.pictures ?? [];
  for (const silent of [[], pictures.map((picture) => ({ ...picture, sha256: null }))]) {
    const at = async () => known && { ...known, memory: { ...known.memory, pictures: silent } };
    const [picture] = learned() as [ReturnType<typeof toyPicture>];
    const request = { key, mmPerPx: 1, picture, shape: wholePicture, includeHeatmap: false };
    const inspection = await inspectImage({ ...toy.parts, memories: { ...toy.memories, at } }, request);
    expect(inspection.inMemory).toBeNull();
  }
});
