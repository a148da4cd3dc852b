/** CSV files: columns and rows, and the same rows with labels. */

import Papa from "papaparse";
import type { Answer } from "./engine.js";

export interface Table {
  name: string;
  columns: string[];
  rows: string[][];
}

/** What became of a row: its answer, or why it has none. */
export type Outcome = Answer | { error: string };

/** A CSV text as columns and rows; an Error in one line for what is none. */
export function parseTable(name: string, text: string): Table {
  const separator = /^sep=(.)\r?\n/.exec(text); // Excel's own line
  const { data, errors } = Papa.parse<string[]>(
    separator ? text.slice(separator[0].length) : text,
    { skipEmptyLines: "greedy", delimiter: separator?.[1] ?? "" },
  );
  const bad = errors.find((one) => one.code !== "UndetectableDelimiter");
  if (bad) throw new Error(`${name}: row ${(bad.row ?? 0) + 1}: ${bad.message}`);
  const [columns, ...rows] = data;
  if (!columns || rows.length === 0) throw new Error(`${name} has no rows`);
  const twice = columns.find((column, place) => columns.indexOf(column) !== place);
  if (twice !== undefined) throw new Error(`${name}: two columns are named “${twice}”`);
  const long = rows.findIndex((row) => row.length > columns.length);
  if (long >= 0) throw new Error(`${name}: row ${long + 2} has more cells than the first line`);
  return { name, columns, rows: rows.map((row) => columns.map((_, place) => row[place] ?? "")) };
}

/** Text of a file: UTF-8, or UTF-16 with its mark, as Excel writes them. */
export async function decoded(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const marks: Record<string, string> = { "255,254": "utf-16le", "254,255": "utf-16be" };
  const kind = marks[String(bytes.subarray(0, 2))] ?? "utf-8";
  try {
    return new TextDecoder(kind, { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${file.name} is not ${kind.toUpperCase()}: save it as “CSV UTF-8”`);
  }
}

/** The rows with columns added, as `edgecd predict FILE.csv` adds them. */
export function labelled(table: Table, outcomes: readonly Outcome[], sure: boolean): string {
  const free = (name: string): string =>
    table.columns.includes(name) ? free(`predicted_${name}`) : name;
  const added = ["label", "probability", ...(sure ? [] : ["unsure"]), "shortened", "error"];
  const lines = outcomes.map((outcome, row) => {
    const cells: Record<string, string> =
      "error" in outcome
        ? { error: outcome.error }
        : {
            label: outcome.label ?? "",
            probability: String(Number(best(outcome).toFixed(6))),
            unsure: String(outcome.unsure),
            shortened: String(outcome.shortened),
          };
    return [...(table.rows[row] ?? []), ...added.map((name) => cells[name] ?? "")];
  });
  return Papa.unparse([[...table.columns, ...added.map(free)], ...lines]);
}

/** The largest probability of an answer. */
export function best(answer: Answer): number {
  return Math.max(...Object.values(answer.probabilities));
}
