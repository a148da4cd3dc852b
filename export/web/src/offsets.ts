/** Where tokens end in the text that they were made of, which the tokenizer itself does not say. */

import type { Tokenizer } from "@huggingface/tokenizers";
import { lowered } from "./tokenizer_file.js";
import type { TokenizerFile } from "./tokenizer_file.js";

/** The text up to the end of its `level`th token, of all its `tokens`.
 *
 * Exact where tokens can be laid along the text: byte-level and word-piece vocabularies, and those
 * with a mark for spaces. Else the longest beginning that has no more tokens.
 */
export function cutTokens(
  tokenizer: Tokenizer,
  file: TokenizerFile,
  text: string,
  tokens: readonly string[],
  level: number,
): string {
  if (level <= 0) return "";
  const letters = [...text];
  const end =
    laidAlong(tokenizer, file, letters, tokens, level) ?? longest(tokenizer, letters, level);
  return letters.slice(0, end).join("");
}

/** The end of the `level`th token in letters, or null where tokens and text do not fit. */
function laidAlong(
  tokenizer: Tokenizer,
  file: TokenizerFile,
  letters: readonly string[],
  tokens: readonly string[],
  level: number,
): number | null {
  const normal = (text: string): string =>
    tokenizer.normalizer ? tokenizer.normalizer(lowered(file, text)) : text;
  const apart = letters.map(normal);
  if (apart.join("") !== normal(letters.join(""))) return null;
  const added = new Set((file.added_tokens ?? []).map((token) => token.content));
  if (JSON.stringify(file.pre_tokenizer ?? null).includes('"ByteLevel"'))
    return byBytes(apart, tokens, added, level);
  const units = apart.flatMap((piece, owner) => [...piece].map((letter) => ({ letter, owner })));
  return byLetters(tokenizer, units, tokens, level);
}

/** Of a byte-level vocabulary, each letter of a token is a byte. */
function byBytes(
  apart: readonly string[],
  tokens: readonly string[],
  added: ReadonlySet<string>,
  level: number,
): number | null {
  const utf8 = new TextEncoder();
  const owners = apart.flatMap((piece, owner) =>
    Array<number>(utf8.encode(piece).length).fill(owner),
  );
  const sizes = tokens.map((token) =>
    added.has(token) ? utf8.encode(token).length : [...token].length,
  );
  const all = sizes.reduce((sum, size) => sum + size, 0);
  // A tokenizer may put a space in front that the text does not have.
  const before = all - owners.length;
  if (before !== 0 && before !== 1) return null;
  const end = sizes.slice(0, level).reduce((sum, size) => sum + size, 0) - before;
  return end > 0 ? (owners[end - 1] as number) + 1 : 0;
}

interface Unit {
  letter: string;
  owner: number;
}

const BLANK = /^\s$/u;
const BREAK = /^[\s\p{P}\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E]$/u;

/** Of other vocabularies, a token is the letters that it stands for, with a mark. */
function byLetters(
  tokenizer: Tokenizer,
  units: readonly Unit[],
  tokens: readonly string[],
  level: number,
): number | null {
  const unknown = tokenizer.model?.unk_token;
  let at = 0;
  let end = 0;
  for (const token of tokens.slice(0, level)) {
    while (at < units.length && BLANK.test((units[at] as Unit).letter)) at += 1;
    if (token === unknown) {
      at += 1;
      const isBreak = (place: number): boolean => BREAK.test((units[place] as Unit).letter);
      while (at < units.length && !isBreak(at - 1) && !isBreak(at)) at += 1;
    } else {
      for (const letter of token
        .replace(/^##(?=.)/u, "")
        .replace(/^▁+/u, "")
        .replaceAll("▁", " ")) {
        if (at >= units.length || (units[at] as Unit).letter !== letter) return null;
        at += 1;
      }
    }
    if (at > 0 && at <= units.length) end = (units[at - 1] as Unit).owner + 1;
  }
  return end;
}

/** The longest beginning of at most `level` tokens. */
function longest(tokenizer: Tokenizer, letters: readonly string[], level: number): number {
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const count = tokenizer.tokenize(letters.slice(0, middle).join(""), {
      add_special_tokens: false,
    }).length;
    if (count <= level) low = middle;
    else high = middle - 1;
  }
  return low;
}
