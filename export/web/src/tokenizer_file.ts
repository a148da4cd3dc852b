/** `tokenizer.json`, as far as it is read here and not by the tokenizers library. */

import type { PostProcessor } from "./segments.js";

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

export interface TokenizerFile {
  added_tokens?: AddedToken[];
  normalizer?: unknown;
  pre_tokenizer?: unknown;
  model: { type?: string; vocab?: unknown };
  post_processor?: PostProcessor | null;
}

/** Text for a tokenizer that makes lower case letter by letter: JavaScript knows a final sigma. */
export function lowered(file: TokenizerFile, text: string): string {
  if (!text.includes("Σ")) return text;
  return /"lowercase":true|"Lowercase"/.test(JSON.stringify(file.normalizer ?? null))
    ? text.replaceAll("Σ", "σ")
    : text;
}

/** Whether an added token is one that no text may become. */
function isControl(token: AddedToken): boolean {
  return token.special || /^(<.+>|\[.+\])$/su.test(token.content);
}

/** The file so that it finds no control token in a text; those tokens. */
export function asText(file: TokenizerFile): [TokenizerFile, AddedToken[]] {
  const added = file.added_tokens ?? [];
  const control = added.filter(isControl);
  const plain = { ...file, added_tokens: added.filter((token) => !isControl(token)) };
  if (file.model.type === "Unigram" && Array.isArray(file.model.vocab)) {
    // It knows `</s>` among its pieces, too; what is cut after its first character can be none.
    const pieces = new Set((file.model.vocab as [string, number][]).map(([piece]) => piece));
    const read = control.map(({ content }) => content);
    const cuts = read
      .filter((token) => [...token].length > 1 && pieces.has(token))
      .map((token) => [...token].map(escaped))
      .map(([first, ...rest]) => `${first}(?=${rest.join("")})`);
    if (cuts.length > 0) {
      const pattern = { Regex: cuts.join("|") };
      const cut = { type: "Split", pattern, behavior: "Isolated", invert: false };
      const own = file.pre_tokenizer ? [file.pre_tokenizer] : [];
      plain.pre_tokenizer = { type: "Sequence", pretokenizers: [...own, cut] };
    }
  }
  return [plain, control];
}

function escaped(letter: string): string {
  return letter.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
}
