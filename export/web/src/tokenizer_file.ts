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
  model: { type?: string };
  post_processor?: PostProcessor | null;
}

/** Text for a tokenizer that makes lower case letter by letter: JavaScript knows a final sigma. */
export function lowered(file: TokenizerFile, text: string): string {
  if (!text.includes("Σ")) return text;
  return /"lowercase":true|"Lowercase"/.test(JSON.stringify(file.normalizer ?? null))
    ? text.replaceAll("Σ", "σ")
    : text;
}
