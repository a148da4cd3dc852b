/** Templates: text with `{field}` places, as Python's `str.format` writes them. */

import { BundleError, need } from "./errors.js";

/** What stands before a place, and the place's field; null behind the last place. */
export type Piece = readonly [literal: string, field: string | null];

const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;

/** Split a template; BundleError for one that is wrong or has no place. */
export function parseTemplate(template: string): Piece[] {
  const pieces: Piece[] = [];
  let literal = "";
  for (const [part] of template.matchAll(/\{\{|\}\}|\{[^{}]*\}|[^{}]+|[{}]/gu)) {
    if (part === "{{" || part === "}}") literal += part[0];
    else if (part === "{" || part === "}") throw new BundleError(`template: a single ${part}`);
    else if (part[0] === "{") {
      const field = part.slice(1, -1).replace(/:$/, "");
      need(IDENTIFIER.test(field), `template: ${part} is not a plain place such as {text}`);
      pieces.push([literal, field]);
      literal = "";
    } else literal += part;
  }
  need(pieces.length > 0, "template: no place for the input, such as {text}");
  if (literal) pieces.push([literal, null]);
  return pieces;
}

/** The names of the places, in order, each once. */
export function fieldsOf(pieces: readonly Piece[]): string[] {
  return [...new Set(pieces.flatMap(([, field]) => (field === null ? [] : [field])))];
}

/** The prompt of one input. */
export function render(pieces: readonly Piece[], values: ReadonlyMap<string, string>): string {
  return pieces
    .map(([literal, field]) => literal + (field === null ? "" : values.get(field)))
    .join("");
}
