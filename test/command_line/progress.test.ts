import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createProgress } from '../../src/command_line/progress.ts';

function stream(isTTY: boolean) {
  let text = '';
  const target = Object.assign(
    new Writable({
      write(chunk, _, done) {
        text += String(chunk);
        done();
      },
    }),
    { isTTY, columns: 80, cursorTo: () => true, clearLine: () => true, moveCursor: () => true },
  );
  return { target: target as unknown as NodeJS.WriteStream, text: () => text };
}

describe('progress', () => {
  it('is a line now and then where there is no terminal, and always one at the end of a phase', () => {
    let now = 0;
    const { target, text } = stream(false);
    const progress = createProgress(target, () => now);
    for (let done = 1; done <= 10; done++) {
      now += 1000;
      progress.update('pictures', done, 10);
    }
    progress.end();
    expect(text()).toBe('pictures 1/10\npictures 6/10\npictures 10/10\n');
  });

  it('is a bar on a terminal', () => {
    const { target, text } = stream(true);
    const progress = createProgress(target);
    progress.update('pictures', 1, 4);
    progress.update('pictures', 4, 4);
    progress.update('coreset', 7, 9);
    progress.end();
    expect(text()).toMatch(/pictures.*4\/4/);
    expect(text()).toMatch(/coreset.*7\/9/);
  });

  it('makes room for lines on a terminal, and is drawn again below them with the time that is left', () => {
    let now = 0;
    const { target, text } = stream(true);
    const progress = createProgress(target, () => now);
    for (let done = 1; done <= 3; done++) {
      progress.end();
      target.write(`row ${done}\n`);
      progress.update('pictures', done, 40);
      now += 2000;
    }
    progress.end();
    const clearedLine = '\u001b[2K';
    for (const row of ['row 2\n', 'row 3\n']) expect(text()).toContain(`${clearedLine}${row}`);
    expect(text()).toMatch(/row 2\n.*2\/40 1 min 16 s.*row 3\n.*3\/40 1 min 14 s/s);
    expect(text().endsWith(clearedLine)).toBe(true);
  });
});
