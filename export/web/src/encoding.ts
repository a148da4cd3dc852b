/** Text to token ids: what an input becomes, cut where it is too long. */

import { Tokenizer } from "@huggingface/tokenizers";
import { BundleError, need } from "./errors.js";
import type { Manifest } from "./manifest.js";
import { cutTokens } from "./offsets.js";
import { joined } from "./segments.js";
import { render } from "./template.js";
import { asText, lowered } from "./tokenizer_file.js";
import type { TokenizerFile } from "./tokenizer_file.js";

/** Token ids of one input; `typeIds` tell an encoder's texts apart; `shortened`: it was cut. */
export interface Encoded {
  ids: number[];
  typeIds: number[];
  shortened: boolean;
}

// White space as Python knows it.
const BLANK = /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$/;

/** Encodes inputs as the bundle's manifest says. */
export class Encoder {
  private readonly tokenizer: Tokenizer;
  private readonly file: TokenizerFile;
  private readonly manifest: Manifest;

  constructor(file: TokenizerFile, manifest: Manifest) {
    const [plain, hidden] = asText(file);
    try {
      this.tokenizer = new Tokenizer(plain, {});
    } catch (error) {
      throw new BundleError(`tokenizer.json: ${(error as Error).message}`);
    }
    for (const { id, content } of hidden) {
      this.tokenizer.model?.tokens_to_ids.set(content, id);
      if (this.tokenizer.model) this.tokenizer.model.vocab[id] = content;
    }
    this.file = file;
    this.manifest = manifest;
  }

  /** The ids of one input, its longest fields cut at their ends until it fits into `max_length`. */
  encode(given: ReadonlyMap<string, string>): Encoded {
    const { maxLength, fields, prefixIds } = this.manifest;
    const blank = [...given.values()].every((text) => BLANK.test(text));
    need(!blank, "the input is empty: there is nothing to classify");
    const most = Math.max(8_192, 32 * maxLength);
    const values = new Map([...given].map(([name, text]) => [name, beginning(text, most)]));
    let found = this.whole(values);
    found.shortened = fields.some((name) => values.get(name) !== given.get(name));
    if (found.ids.length > maxLength) {
      const tokens = new Map(fields.map((name) => [name, this.tokens(values.get(name) as string)]));
      const counts = fields.map((name) => tokens.get(name)?.length ?? 0);
      const sum = (level: number): number =>
        counts.reduce((all, count) => all + Math.min(count, level), 0);
      const budget = maxLength - (found.ids.length - counts.reduce((all, count) => all + count, 0));
      let level = Math.max(...counts);
      while (level > 0 && sum(level) > budget) level -= 1;
      for (; ; level -= 1) {
        need(level >= 0, `the template alone has more than ${maxLength} tokens`);
        const cut = new Map<string, string>();
        for (const name of fields) {
          const value = values.get(name) as string;
          const own = tokens.get(name) as string[];
          cut.set(
            name,
            own.length > level ? cutTokens(this.tokenizer, this.file, value, own, level) : value,
          );
        }
        found = this.whole(cut);
        if (found.ids.length <= maxLength) break;
      }
      found.shortened = true;
    }
    const starts = prefixIds.every((id, place) => found.ids[place] === id);
    need(
      starts,
      "tokenizer.json and manifest.json do not belong together: an input starts with other tokens",
    );
    need(found.ids.length > prefixIds.length, "the input is empty: there is nothing to classify");
    return found;
  }

  private whole(values: ReadonlyMap<string, string>): Encoded {
    const { form, fields, pieces } = this.manifest;
    if (form === "prompt") return this.encoded(render(pieces, values), null);
    const [first, ...others] = fields.map((name) => values.get(name) as string) as [
      string,
      ...string[],
    ];
    return this.encoded(first, form === "pair" ? others.join("\n") : null);
  }

  private tokens(text: string): string[] {
    return this.tokenizer.tokenize(lowered(this.file, text), { add_special_tokens: false });
  }

  private ids(text: string): number[] {
    return this.tokens(text).map((token) => {
      const id = this.tokenizer.token_to_id(token) ?? this.tokenizer.model?.unk_token_id;
      need(id !== undefined, `tokenizer.json: the token ${token} has no id`);
      return id;
    });
  }

  private encoded(first: string, second: string | null): Encoded {
    const { post_processor: post } = this.file;
    const made = joined(post ?? null, this.ids(first), second === null ? null : this.ids(second));
    return { ...made, shortened: false };
  }
}

/** The first `count` characters (code points) of a text. */
function beginning(text: string, count: number): string {
  if (text.length <= count) return text;
  let end = 0;
  for (const letter of text) {
    if (count-- === 0) break;
    end += letter.length;
  }
  return text.slice(0, end);
}
