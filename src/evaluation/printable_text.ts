/**
 * Text from strangers (file names, folders) as one line that a terminal or page shows as it stands: control characters,
 * line ends, characters that turn the reading direction and halves of surrogate pairs become U+FFFD. An escape sequence
 * in a file name could otherwise repaint the terminal.
 */
export function printableText(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, '\ufffd');
}
