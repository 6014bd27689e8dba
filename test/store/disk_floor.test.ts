import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { diskFloor } from '../../src/store/disk_floor.ts';

const mib = 1024 * 1024;

it('has room down to the floor and none below it, as it is at the moment of asking', async () => {
  let free = 10 * mib;
  const asked: string[] = [];
  const floor = diskFloor('/models', 10 * mib, async (folder) => {
    asked.push(folder);
    return free;
  });
  await floor.requireRoom();
  expect(await floor.shortage()).toBeNull();
  free -= 1;
  await expect(floor.requireRoom()).rejects.toMatchObject({
    code: 'storage_full',
    message: expect.stringMatching(/has 9 MiB left and must keep 10 \(BDI_MIN_FREE_MIB\)/),
  });
  expect(await floor.shortage()).not.toContain('/models');
  expect(new Set(asked)).toEqual(new Set(['/models']));
});

it('has always room without a limit, and where the file system does not tell', async () => {
  await diskFloor('/models', 0, async () => 0).requireRoom();
  await diskFloor('/models', 10 * mib, async () => null).requireRoom();
});

it('asks the system, for a folder that is not there yet as well', async () => {
  const { bavail, bsize } = await statfs(tmpdir());
  const enormous = 2 ** 60;
  for (const folder of [tmpdir(), join(tmpdir(), 'not', 'there', 'yet')]) {
    const sentence = (await diskFloor(folder, enormous).shortage()) ?? '';
    const told = Number(/has (\d+) MiB/.exec(sentence)?.[1]) * mib;
    expect(Math.abs(told - bavail * bsize)).toBeLessThan(0.2 * bavail * bsize + 1024 * mib);
    await diskFloor(folder, 1).requireRoom();
  }
});
