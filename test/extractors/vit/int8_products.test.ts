import { readFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { expect, it } from 'vitest';
import { int8ProductsAreExact } from '../../../src/extractors/vit/int8_products.ts';

it.skipIf(platform() !== 'linux' || arch() !== 'x64')(
  'tells whether the processor has VNNI (Linux on x64 says so)',
  async () => {
    const hasVnni = /\b(avx512_vnni|avx_vnni|amx_int8)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
    expect(await int8ProductsAreExact()).toBe(hasVnni);
  },
);
