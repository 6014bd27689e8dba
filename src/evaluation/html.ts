import { printableText } from './printable_text.ts';

/** Markup that is safe to show: only `html` and `trustedHtml` make it. */
export interface Html {
  readonly markup: string;
}

/** Plain texts and numbers are escaped; lists are joined without anything between. */
export type HtmlValue = string | number | Html | readonly Html[];

/**
 * A template whose values are escaped, so that forgetting it is not possible. Values may stand in text and in quoted
 * attributes, never in a tag's name, an unquoted attribute, a style or a script.
 */
export function html(literals: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let markup = literals[0] as string;
  values.forEach((value, i) => {
    markup += valueMarkup(value) + (literals[i + 1] as string);
  });
  return { markup };
}

/** For markup and style sheets written in our own source, never for anything read. */
export function trustedHtml(markup: string): Html {
  return { markup };
}

/** Text for HTML text and quoted attributes; characters that HTML does not allow become U+FFFD. */
export function escapeHtml(text: string): string {
  return printableText(text).replace(/[&<>"']/g, (character) => entities[character] as string);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function valueMarkup(value: HtmlValue): string {
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value));
  return 'markup' in value ? value.markup : value.map((item) => item.markup).join('');
}
