/** Strict JSON: `JSON.parse`, but no byte order mark and no key twice in an object. */

import { BundleError, need } from "./errors.js";

/** The value of UTF-8 JSON; BundleError naming `what` for anything else. */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw new BundleError(`${what} is not valid JSON (${(error as Error).message})`);
  }
  need(!hasTwins(text), `${what} is not valid JSON (a key appears twice)`);
  return value;
}

/** Whether valid JSON has an object with the same key twice: `JSON.parse` takes the last. */
function hasTwins(text: string): boolean {
  const open: (Set<string> | null)[] = []; // the keys of each open object; null of a list
  const pieces = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;
  let last = "";
  for (const [piece] of text.matchAll(pieces)) {
    if (piece === "{") open.push(new Set());
    else if (piece === "[") open.push(null);
    else if (piece === "}" || piece === "]") open.pop();
    else if (piece === ":") {
      const keys = open.at(-1);
      const key = JSON.parse(last) as string;
      if (keys?.has(key)) return true;
      keys?.add(key);
    } else if (piece !== ",") last = piece;
  }
  return false;
}
