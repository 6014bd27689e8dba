import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const place = () => toy.models.ownPlace(key);

describe('a memory description', () => {
  it('is null where no memory is', async () => {
    expect(await toy.memories.at(place())).toBeNull();
  });

  it('is read once per version of the file', async () => {
    await toy.fit();
    const first = await toy.memories.at(place());
    await toy.memories.at(place());
    await toy.inspect();
    expect(toy.vision.calls.describe).toBe(1);
    await toy.fit({ pictures: [toyPicture(10, 20, 30, 40)] });
    expect((await toy.memories.at(place()))?.memory.memoryId).not.toBe(first?.memory.memoryId);
    expect(toy.vision.calls.describe).toBe(2);
  });

  it('is asked for again after a damaged file was mended', async () => {
    await toy.fit();
    const good = readFileSync(place().npzPath);
    writeFileSync(place().npzPath, good.subarray(0, 100));
    await expect(toy.inspect()).rejects.toMatchObject({ code: 'damaged_file' });
    writeFileSync(place().npzPath, good);
    expect((await toy.inspect()).threshold).toBeNull();
  });
});

describe('the FAISS index beside a memory', () => {
  it.each([
    ['missing', (path: string) => rmSync(path), ['was_missing']],
    ['cut short', (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 50)), ['was_damaged']],
    ['right', () => undefined, []],
  ])('%s: is right after the next inspection, without holding it up', async (_, change, events) => {
    await toy.fit();
    const good = readFileSync(place().indexPath);
    change(place().indexPath);
    await toy.inspect();
    await toy.memories.idle();
    expect(readFileSync(place().indexPath)).toEqual(good);
    expect(toy.indexEvents).toEqual(events);
  });

  it('is looked at once per version of the memory', async () => {
    await toy.fit();
    for (let i = 0; i < 3; i++) await toy.inspect();
    await toy.memories.idle();
    expect(toy.vision.calls.repairIndex).toBe(1);
  });

  it('fails no inspection when it cannot be written', async () => {
    await toy.fit();
    toy.vision.repairIndex = async () => {
      throw new Error('read-only');
    };
    expect((await toy.inspect()).score).toBeGreaterThan(0);
    await toy.memories.idle();
    expect(toy.indexEvents).toEqual(['Error: read-only']);
  });

  it('is never the one of a memory that was replaced meanwhile', async () => {
    await toy.fit();
    rmSync(place().indexPath);
    await toy.inspect();
    await toy.fit({ pictures: [toyPicture(10, 20, 30, 40)] });
    await toy.memories.idle();
    expect(existsSync(place().indexPath)).toBe(true);
    expect(await toy.vision.repairIndex(place())).toBe('good');
  });
});
