/** What a tokenizer puts around and between texts: the `post_processor` of its file. */

import { BundleError, need } from "./errors.js";

export interface Segments {
  ids: number[];
  typeIds: number[];
}

type Template = (
  | { SpecialToken: { id: string; type_id: number } }
  | { Sequence: { id: "A" | "B"; type_id: number } }
)[];

export type PostProcessor =
  | {
      type: "TemplateProcessing";
      single: Template;
      pair: Template;
      special_tokens: Record<string, { ids: number[] }>;
    }
  | { type: "BertProcessing" | "RobertaProcessing"; cls: [string, number]; sep: [string, number] }
  | { type: "ByteLevel" }
  | { type: "Sequence"; processors: PostProcessor[] };

/** The ids of one or two texts with what belongs around them, and which text each is of. */
export function joined(
  post: PostProcessor | null,
  first: number[],
  second: number[] | null,
): Segments {
  const parts: [ids: number[], type: number][] = [];
  const processors = post === null ? [] : post.type === "Sequence" ? post.processors : [post];
  const adding = processors.filter((one) => one.type !== "ByteLevel");
  need(adding.length <= 1, "tokenizer.json: more than one post-processor adds tokens");
  const one = adding[0];
  if (one === undefined) {
    parts.push([first, 0], [second ?? [], 1]);
  } else if (one.type === "TemplateProcessing") {
    for (const part of second === null ? one.single : one.pair) {
      if ("Sequence" in part)
        parts.push([part.Sequence.id === "A" ? first : (second ?? []), part.Sequence.type_id]);
      else
        parts.push([
          one.special_tokens[part.SpecialToken.id]?.ids ?? [],
          part.SpecialToken.type_id,
        ]);
    }
  } else if (one.type === "BertProcessing" || one.type === "RobertaProcessing") {
    const bert = one.type === "BertProcessing";
    const end = [one.sep[1]];
    parts.push([[one.cls[1], ...first, ...end], 0]);
    if (second !== null) parts.push([[...(bert ? [] : end), ...second, ...end], bert ? 1 : 0]);
  } else {
    throw new BundleError(`tokenizer.json: the post-processor ${one.type} is not known here`);
  }
  return {
    ids: parts.flatMap(([ids]) => ids),
    typeIds: parts.flatMap(([ids, type]) => ids.map(() => type)),
  };
}
