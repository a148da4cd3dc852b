/** A whole table: a CSV file in, the same rows with labels out. */

import Papa from "papaparse";
import { element, make, onDrop } from "./dom.js";
import type { Answer, Engine } from "./engine.js";

const CHUNK = 16; // rows that are asked for at once
const SHOWN = 20; // rows

interface Table {
  name: string;
  columns: string[];
  rows: string[][];
}

/** Let a person give a CSV file; `threshold` is asked for when it is labelled. */
export function offerTable(engine: Engine, threshold: () => number | null): void {
  const input = element("table-file", HTMLInputElement);
  const take = async (file: File | undefined): Promise<void> => {
    element("table-result").replaceChildren();
    element("table-progress").replaceChildren();
    element("columns").hidden = true;
    if (!file) return;
    try {
      const table = parseTable(file.name, await decoded(file));
      askColumns(
        table,
        engine.about.fields,
        (chosen) => void label(table, chosen, engine, threshold()),
      );
    } catch (error) {
      element("table-progress").replaceChildren(
        make("p", { class: "problem", role: "alert" }, (error as Error).message),
      );
    }
  };
  input.addEventListener("change", () => {
    void take(input.files?.[0]);
    input.value = ""; // the same file may come again
  });
  onDrop(element("table-drop"), async (data) => take(data.files[0]));
}

/** A CSV text as columns and rows; an Error in one line for what is none. */
export function parseTable(name: string, text: string): Table {
  const separator = /^sep=(.)\r?\n/.exec(text);
  const { data, errors } = Papa.parse<string[]>(
    separator ? text.slice(separator[0].length) : text,
    {
      skipEmptyLines: "greedy",
      delimiter: separator?.[1] ?? "",
    },
  );
  const bad = errors.find((one) => one.code !== "UndetectableDelimiter");
  if (bad) throw new Error(`${name}: row ${(bad.row ?? 0) + 1}: ${bad.message}`);
  const [columns, ...rows] = data;
  if (!columns || rows.length === 0) throw new Error(`${name} has no rows`);
  const twice = columns.find((column, place) => columns.indexOf(column) !== place);
  if (twice !== undefined) throw new Error(`${name}: two columns are named “${twice}”`);
  return { name, columns, rows: rows.map((row) => columns.map((_, place) => row[place] ?? "")) };
}

/** Text of a file: UTF-8, or UTF-16 with its mark, as Excel writes them. */
async function decoded(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const mark =
    bytes[0] === 0xff && bytes[1] === 0xfe
      ? "utf-16le"
      : bytes[0] === 0xfe && bytes[1] === 0xff
        ? "utf-16be"
        : "utf-8";
  try {
    return new TextDecoder(mark, { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${file.name} is not ${mark.toUpperCase()}: save it as “CSV UTF-8”`);
  }
}

/** The columns that hold the fields: by name, or as a person says. */
function askColumns(table: Table, fields: readonly string[], go: (chosen: number[]) => void): void {
  const form = element("columns", HTMLFormElement);
  const selects = fields.map((field, place) => {
    const options = table.columns.map((column, at) =>
      make("option", { value: String(at) }, column || `column ${at + 1}`),
    );
    const select = make("select", { id: `column-${place}` }, ...options);
    const same = table.columns.findIndex(
      (column) => column.trim().toLowerCase() === field.toLowerCase(),
    );
    select.value = String(same >= 0 ? same : Math.min(place, table.columns.length - 1));
    return make("p", {}, make("label", { for: select.id }, `${field} is in `), select);
  });
  const rows = table.rows.length.toLocaleString("en");
  form.replaceChildren(
    make("p", {}, `${table.name}: ${rows} rows`),
    ...selects,
    make("button", {}, `Label ${rows} rows`),
  );
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    form.hidden = true;
    go(selects.map((one) => Number((one.lastChild as HTMLSelectElement).value)));
  };
  form.querySelector("button")?.focus();
}

async function label(
  table: Table,
  chosen: number[],
  engine: Engine,
  threshold: number | null,
): Promise<void> {
  const place = element("table-progress");
  const bar = make("progress", {
    max: String(table.rows.length),
    value: "0",
    "aria-label": "Rows labelled",
  });
  const stop = make("button", { type: "button", class: "plain" }, "Stop");
  let stopped = false;
  stop.addEventListener("click", () => (stopped = true));
  place.replaceChildren(make("div", { class: "row" }, bar, stop));
  const answers: Answer[] = [];
  let milliseconds = 0;
  try {
    for (let at = 0; at < table.rows.length && !stopped; at += CHUNK) {
      const some = table.rows.slice(at, at + CHUNK);
      const inputs = some.map((row) =>
        Object.fromEntries(
          engine.about.fields.map((field, n) => [field, row[chosen[n] as number] ?? ""]),
        ),
      );
      const found = await engine.predict(inputs, threshold);
      answers.push(...found.answers);
      milliseconds += found.milliseconds;
      bar.value = answers.length;
    }
    const each = milliseconds / Math.max(1, answers.length);
    place.replaceChildren(
      make(
        "p",
        { class: "numbers" },
        `${answers.length.toLocaleString("en")} rows, ${each.toFixed(1)} ms each`,
      ),
    );
  } catch (error) {
    place.replaceChildren(
      make(
        "p",
        { class: "problem", role: "alert" },
        `row ${answers.length + 2} or a little below: ${(error as Error).message}`,
      ),
    );
  }
  if (answers.length > 0) element("table-result").replaceChildren(...shown(table, answers));
}

/** The table with labels, as CSV: columns `label` and `probability` are added, or `predicted ...` beside old ones. */
export function labelled(table: Table, answers: readonly Answer[]): string {
  const named = (name: string): string =>
    table.columns.includes(name) ? `predicted_${name}` : name;
  const columns = [...table.columns, named("label"), named("probability")];
  return Papa.unparse([
    columns,
    ...answers.map((answer, row) => [
      ...(table.rows[row] ?? []),
      answer.label ?? "",
      best(answer).toFixed(4),
    ]),
  ]);
}

function best(answer: Answer): number {
  return Math.max(...Object.values(answer.probabilities));
}

function shown(table: Table, answers: readonly Answer[]): Node[] {
  const counts = new Map<string, number>();
  for (const { label: name } of answers)
    counts.set(name ?? "unsure", (counts.get(name ?? "unsure") ?? 0) + 1);
  const words = [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name}: ${count.toLocaleString("en")}`);
  const heads = ["label", "probability", ...table.columns].map((name) =>
    make("th", { scope: "col" }, name),
  );
  const lines = answers.slice(0, SHOWN).map((answer, row) => {
    const cells = [
      answer.label ?? "unsure",
      `${(100 * best(answer)).toFixed(1)} %`,
      ...(table.rows[row] ?? []),
    ];
    return make(
      "tr",
      {},
      ...cells.map((cell) => make("td", {}, cell.length > 200 ? `${cell.slice(0, 200)}…` : cell)),
    );
  });
  const file = new Blob(["\ufeff", labelled(table, answers)], { type: "text/csv" }); // the mark is for Excel
  const name = `${table.name.replace(/\.[^.]*$/, "")}-labels.csv`;
  const link = make(
    "a",
    { class: "button", href: URL.createObjectURL(file), download: name },
    "Download as CSV",
  );
  const some =
    answers.length > SHOWN ? [make("p", { class: "hint" }, `The first ${SHOWN} rows:`)] : [];
  const view = make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Labelled rows" },
    make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines)),
  );
  return [make("p", {}, words.join(", ")), make("p", {}, link), ...some, view];
}
