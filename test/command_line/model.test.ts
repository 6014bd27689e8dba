import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeSmallVit } from '../extractors/vit/small_vit_file.ts';
import { runCli } from './run_cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-cli-model-'));
const modelsDir = join(folder, 'models');
const weights = join(folder, 'model.safetensors');
const name = 'vit_small_patch14_dinov2.lvd142m';
const there = ['--models-dir', modelsDir];
const quick = ['--input-size', '28x42', '--precision', 'fp32'];
let mirror: Server;
let mirrorUrl: string;

beforeAll(async () => {
  writeSmallVit(weights);
  mirror = createServer((request, response) => {
    if (request.url === '/hub/facebook/dinov2-small/resolve/main/model.safetensors')
      response.end(readFileSync(weights));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve));
  mirrorUrl = `http://127.0.0.1:${(mirror.address() as AddressInfo).port}/hub`;
});

afterAll(() => {
  mirror.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('okng model', () => {
  it('explains itself', async () => {
    const { code, stdout } = await runCli(['model', '--help']);
    expect(code).toBe(0);
    for (const word of ['add', 'fetch', 'list', 'verify', 'remove']) expect(stdout).toContain(word);
    expect((await runCli(['model', 'add', '--help'])).stdout).toMatch(/--input-size[\s\S]*--precision[\s\S]*auto/);
  });

  it.each([
    [['model', 'add', ...there], /missing required argument 'file'/],
    [['model', 'add', weights, '--precision', 'fp16'], /Allowed choices are auto, fp32, int8/],
    [['model', 'add', weights, '--input-size', '448px'], /a side such as 448, or HEIGHTxWIDTH/],
    [['model', 'add', weights, '--blocks', '9;10'], /commas between/],
    [['model', 'fetch', 'dinov3'], /Allowed choices are dinov2-small/],
  ])('ends with 2 when it is not understood: %j', async (args, sentence) => {
    const { code, stderr } = await runCli(args);
    expect(stderr).toMatch(sentence);
    expect(code).toBe(2);
  });

  it('refuses a file that is no weights file, by what it seems to be', async () => {
    const page = join(folder, 'page.safetensors');
    writeFileSync(page, '<!DOCTYPE html><html><body>Sign in to the network</body></html>');
    const { code, stderr, stdout } = await runCli(['model', 'add', page, ...there]);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/'page.safetensors' cannot be used: .*(HTML|web page)/);
    expect((await runCli(['model', 'list', ...there])).stdout).not.toContain('vit_');
  });

  it('adds, lists, verifies and removes', async () => {
    const added = await runCli(['model', 'add', weights, ...quick, ...there]);
    expect(added.code, added.stderr).toBe(0);
    expect(added.stdout).toMatch(new RegExp(`Installed ${name}[\\s\\S]*1152 numbers per patch[\\s\\S]*Fit again`));
    const listed = JSON.parse((await runCli(['model', 'list', '--json', ...there])).stdout) as { name: string }[];
    expect(listed.map((row) => row.name)).toEqual(['embedded_filter_bank', name]);
    expect((await runCli(['model', 'list', ...there])).stdout).toMatch(/installed +fp32 +28 × 42 +1152/);

    expect((await runCli(['model', 'verify', ...there])).stdout).toBe(`${name}: good\n`);
    const onnx = join(modelsDir, 'extractors', name, 'model.onnx');
    const bytes = readFileSync(onnx);
    writeFileSync(onnx, bytes.subarray(0, bytes.length - 1));
    const broken = await runCli(['model', 'verify', name, ...there]);
    expect(broken.code).toBe(1);
    expect(broken.stdout).toContain('has sha256');

    const removed = await runCli(['model', 'remove', name, ...there]);
    expect([removed.code, removed.stdout]).toEqual([0, `Removed ${name}.\n`]);
    expect(readdirSync(join(modelsDir, 'extractors'))).toEqual([]);
  });

  it('fetches from a mirror, makes the extractor and leaves nothing when it is removed', async () => {
    const fetched = await runCli(['model', 'fetch', 'dinov2-small', ...quick, ...there, '--mirror', mirrorUrl]);
    expect(fetched.code, fetched.stderr).toBe(0);
    expect(fetched.stdout).toContain(`Installed ${name}`);
    const card = JSON.parse(readFileSync(join(modelsDir, 'extractors', name, 'card.json'), 'utf8')) as {
      origin: string;
    };
    expect(card.origin).toContain('https://huggingface.co/facebook/dinov2-small');
    await runCli(['model', 'remove', name, ...there]);
    expect(readdirSync(join(modelsDir, 'extractors'))).toEqual(['known_downloads.json']);
  });

  it('says how to carry the file by hand when there is no internet', async () => {
    mirror.close();
    mirror.closeAllConnections();
    const { code, stderr } = await runCli(['model', 'fetch', 'dinov2-small', ...there], {
      BDI_MODEL_MIRROR: mirrorUrl,
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/okng model add model\.safetensors/);
    expect(stderr).toMatch(/https:\/\/huggingface\.co\/facebook\/dinov2-small\/resolve\/main\/model\.safetensors/);
  });
});
