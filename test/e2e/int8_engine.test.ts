import { expect, it } from 'vitest';
import { get } from './client.ts';
import { good, infer, postFit } from './fit_jobs.ts';
import { okngOfEachTest } from './process.ts';

/** BDI_NEIGHBORS=onnx_int8 in a real service. */

const { start } = okngOfEachTest();

it('answers with int8 banks as with float32, also for a model that was fitted again meanwhile', async () => {
  const answers = [];
  for (const neighbors of ['onnx', 'onnx_int8']) {
    const okng = await start({ BDI_NEIGHBORS: neighbors });
    expect((await get(`${okng.url}/health`)).body).toMatchObject({ neighbors });
    for (const pictures of [good, good.slice(0, 5)]) {
      expect((await postFit(okng, pictures)).status).toBe(200);
      const { status, body } = await infer(okng);
      expect(status, JSON.stringify(body)).toBe(200);
      const { score, regions, heatmap_png_base64: heatmap } = body;
      answers.push({ score, regions, heatmap });
    }
    await okng.kill('SIGTERM');
  }
  expect(answers.slice(2)).toEqual(answers.slice(0, 2));
  expect(answers[0]?.score).not.toBe(answers[1]?.score);
});
