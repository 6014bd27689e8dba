import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Each file in its own process: onnxruntime-node and opencv-wasm keep state per process.
    pool: 'forks',
    maxWorkers: 2,
  },
});
