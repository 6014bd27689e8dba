import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { faissAddon } from '../../src/neighbors/faiss_addon.ts';
import { createFaissNeighbors } from '../../src/neighbors/faiss_neighbors.ts';
import { startFaissProcess } from '../../src/neighbors/faiss_process.ts';
import { neighborsConformance } from './conformance.ts';
import { writeFakeFaiss } from './fake_faiss.ts';

function conformance(name: string, addon: string): void {
  const faiss = startFaissProcess({ addon, threads: 1 });
  afterAll(() => faiss.dispose());
  neighborsConformance(name, async (bank) => createFaissNeighbors(bank, faiss));
}

const folder = mkdtempSync(join(tmpdir(), 'okng-fake-faiss-'));
afterAll(() => rmSync(folder, { recursive: true }));
conformance('faiss, with a stand-in for faiss-node', writeFakeFaiss(folder));

const addon = faissAddon();
if (addon === null) {
  describe('neighbors: faiss', () => {
    it.skip('faiss-node is not built here (npm run faiss:build)', () => undefined);
  });
} else conformance('faiss', addon);
