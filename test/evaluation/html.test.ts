import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeHtml, html } from '../../src/evaluation/html.ts';
import { printableText } from '../../src/evaluation/printable_text.ts';

describe('html', () => {
  it('escapes values in texts and attributes, and not its own markup', () => {
    expect(html`<b title="${`"'`}">${'<i>&'}${2}</b>`.markup).toBe('<b title="&quot;&#39;">&lt;i&gt;&amp;2</b>');
  });

  it('replaces what HTML does not allow', () => {
    expect(escapeHtml('a\u0000b')).toBe('a\ufffdb');
  });

  it('takes markup as it is, and lists without anything between', () => {
    expect(html`<ul>${['a', '<'].map((item) => html`<li>${item}</li>`)}</ul>`.markup).toBe(
      '<ul><li>a</li><li>&lt;</li></ul>',
    );
    expect(html`${[]}`.markup).toBe('');
  });

  it('lets no text open a tag, an attribute or an entity', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'<>&"\'#39;a\0\ud800') }), (text) => {
        expect(escapeHtml(text)).not.toMatch(/[<>"']|&(?!(?:amp|lt|gt|quot|#39);)/);
      }),
    );
  });
});

describe('printableText', () => {
  it.each([
    ['an escape sequence', 'a\u001b[2Jb', 'a\ufffd[2Jb'],
    ['a line end', 'a\r\nb', 'a\ufffd\ufffdb'],
    ['a turned reading direction', 'a\u202egnp.b', 'a\ufffdgnp.b'],
    ['half a surrogate pair', 'a\ud800b', 'a\ufffdb'],
  ])('replaces %s', (_, text, expected) => {
    expect(printableText(text)).toBe(expected);
  });

  it('keeps letters of any script', () => {
    expect(printableText('Kratzer ä, 크랙, 傷, 🙂')).toBe('Kratzer ä, 크랙, 傷, 🙂');
  });
});
