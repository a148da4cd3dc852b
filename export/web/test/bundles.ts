/** The bundles that `make_bundles.py` wrote, and what Python answers. */

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fromFiles } from "../src/index.js";
import type { Source } from "../src/index.js";

export interface Answer {
  input: Record<string, string>;
  error?: string;
  ids: number[];
  type_ids: number[] | null;
  label: string | null;
  unsure: boolean;
  probabilities: Record<string, number>;
  shortened: boolean;
}

export interface Case {
  name: string;
  bundle: string;
  answers: Answer[];
}

const FOLDER = process.env.EDGECD_WEB_BUNDLES ?? join(import.meta.dirname, "bundles");
const CASES = join(FOLDER, "cases.json");

/** Every bundle with its answers; empty where `make_bundles.py` has not run. */
export const cases: Case[] = existsSync(CASES)
  ? (JSON.parse(readFileSync(CASES, "utf8")) as Omit<Case, "name">[]).map((one) => ({
      ...one,
      name: basename(one.bundle),
    }))
  : [];

/** The files of a folder as a person would choose them, some changed or (null) left out. */
export function chosen(
  folder: string,
  changes: Record<string, Uint8Array | string | null> = {},
): Source {
  const files = readdirSync(folder).map((name) => {
    const changed = changes[name];
    const bytes: Uint8Array | string | null =
      changed === undefined ? readFileSync(join(folder, name)) : changed;
    return bytes === null ? null : new File([bytes as BlobPart], name);
  });
  return fromFiles(files.filter((file) => file !== null));
}
