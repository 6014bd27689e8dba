import { writeFileSync } from 'node:fs';
import { encodeSafetensors } from './safetensors_writer.ts';
import { someVit, tensorsOf } from './some_vit_weights.ts';

/**
 * Writes a whole random ViT-S/14 (88 MB, half a second) under timm's names, with numbers as small as trained ones: its
 * embeddings are finite, and int8 follows them.
 */
export function writeSmallVit(path: string): void {
  const vit = someVit({ width: 384, heads: 6, depth: 12, registers: 0, gridSide: 37 });
  const tensors = tensorsOf(vit, 'timm');
  for (const [name, { values }] of tensors) {
    const shrink = name.includes('norm') ? 1 : name.includes('gamma') ? 0.2 : 0.05;
    const numbers = values as Float32Array;
    for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] as number) * shrink;
  }
  writeFileSync(path, encodeSafetensors(tensors));
}
