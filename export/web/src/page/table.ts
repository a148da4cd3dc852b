/** A whole table: a CSV file in, the same rows with labels out. */

import { best, decoded, labelled, parseTable } from "./csv.js";
import type { Outcome, Table } from "./csv.js";
import { element, make, onDrop } from "./dom.js";
import type { Engine } from "./engine.js";

const CHUNK = 16; // rows that are asked for at once
const SHOWN = 20; // rows
const CUT = 200; // characters of a cell

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
      const problem = make("p", { class: "problem", role: "alert" }, (error as Error).message);
      element("table-progress").replaceChildren(problem);
    }
  };
  input.addEventListener("change", () => {
    void take(input.files?.[0]);
    input.value = ""; // the same file may come again
  });
  onDrop(element("table-drop"), async (data) => take(data.files[0]));
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
    return select;
  });
  const asked = selects.map((select, place) =>
    make("p", {}, make("label", { for: select.id }, `${fields[place]} is in `), select),
  );
  const rows = table.rows.length.toLocaleString("en");
  const button = make("button", {}, `Label ${rows} rows`);
  form.replaceChildren(make("p", {}, `${table.name}: ${rows} rows`), ...asked, button);
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    form.hidden = true;
    go(selects.map((select) => Number(select.value)));
  };
  button.focus();
}

async function label(
  table: Table,
  chosen: readonly number[],
  engine: Engine,
  threshold: number | null,
): Promise<void> {
  const total = table.rows.length;
  const attributes = { max: String(total), value: "0", "aria-label": "Rows labelled" };
  const bar = make("progress", attributes);
  const stop = make("button", { type: "button", class: "plain" }, "Stop");
  let stopped = false;
  stop.addEventListener("click", () => (stopped = true));
  element("table-progress").replaceChildren(make("div", { class: "row" }, bar, stop));
  const inputs = table.rows.map((row) =>
    Object.fromEntries(
      engine.about.fields.map((field, place) => [field, row[chosen[place] as number] ?? ""]),
    ),
  );
  const outcomes: Outcome[] = [];
  let milliseconds = 0;
  while (outcomes.length < total && !stopped) {
    const some = inputs.slice(outcomes.length, outcomes.length + CHUNK);
    try {
      const found = await engine.predict(some, threshold);
      outcomes.push(...found.answers);
      milliseconds += found.milliseconds;
    } catch {
      outcomes.push(...(await oneByOne(engine, some, threshold)));
    }
    bar.value = outcomes.length;
  }
  const answered = outcomes.filter((one) => !("error" in one)).length;
  const each = (milliseconds / Math.max(1, answered)).toFixed(1);
  const words = `${outcomes.length.toLocaleString("en")} rows, ${each} ms each`;
  element("table-progress").replaceChildren(make("p", { class: "numbers" }, words));
  if (outcomes.length > 0) {
    element("table-result").replaceChildren(...shown(table, outcomes, !threshold));
  }
}

/** Rows of which one is wrong: the others have their answers all the same. */
async function oneByOne(
  engine: Engine,
  inputs: readonly Record<string, string>[],
  threshold: number | null,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const input of inputs) {
    outcomes.push(
      await engine.predict([input], threshold).then(
        ({ answers }) => answers[0] as Outcome,
        (error: Error) => ({ error: error.message }),
      ),
    );
  }
  return outcomes;
}

function shown(table: Table, outcomes: readonly Outcome[], sure: boolean): Node[] {
  const counts = new Map<string, number>();
  for (const outcome of outcomes) {
    const name = nameOf(outcome);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const words = [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name}: ${count.toLocaleString("en")}`);
  const heads = ["label", "probability", ...table.columns];
  const lines = outcomes.slice(0, SHOWN).map((outcome, row) => {
    const share = "error" in outcome ? outcome.error : `${(100 * best(outcome)).toFixed(1)} %`;
    const cells = [nameOf(outcome), share, ...(table.rows[row] ?? [])];
    return make("tr", {}, ...cells.map(cellOf));
  });
  // The mark in front is for Excel.
  const file = new Blob(["\ufeff", labelled(table, outcomes, sure)], { type: "text/csv" });
  const download = `${table.name.replace(/\.[^.]*$/, "")}-labels.csv`;
  const href = URL.createObjectURL(file);
  const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
  const body = make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
  const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": "Labelled rows" };
  const some = outcomes.length > SHOWN;
  return [
    make("p", {}, words.join(", ")),
    make("p", {}, make("a", { class: "button", href, download }, "Download as CSV")),
    ...(some ? [make("p", { class: "hint" }, `The first ${SHOWN} rows:`)] : []),
    make("div", scroll, body),
  ];
}

function nameOf(outcome: Outcome): string {
  return "error" in outcome ? "no answer" : (outcome.label ?? "unsure");
}

function cellOf(cell: string): HTMLElement {
  const kind = cell.length > 24 ? { class: "long" } : {};
  return make("td", kind, cell.length > CUT ? `${cell.slice(0, CUT)}…` : cell);
}
