/** The page: one text, a whole table, and what there is to know about the model. */

import { element, make } from "./dom.js";
import type { Answer, Engine } from "./engine.js";
import { offerTable } from "./table.js";

const PARTS = ["choose", "loading", "ready"];
const SHOWN = 8; // labels; the others unfold

/** Show one part of the page, hide the others. */
export function show(part: string | null): void {
  for (const name of PARTS) element(name).hidden = name !== part;
  element("error").hidden = true;
}

/** Say what went wrong, in one line. */
export function fail(error: unknown): void {
  const line = element("error");
  line.textContent = String((error as Error)?.message ?? error);
  line.hidden = false;
}

/** Say how far loading is; a total of 0 is not known. */
export function working(text: string, done: number, total: number): void {
  element("loading-text").textContent = text;
  const bar = element("loading-bar", HTMLProgressElement);
  if (total > 0) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
}

/** The page over a loaded model. */
export function start(engine: Engine): void {
  const { about } = engine;
  document.title = `${about.task} · edgecd`;
  element("title").textContent = about.task;
  element("summary").textContent =
    `${about.labels.length} labels, ${megabytes(about.sizeBytes)}, runs ${about.where}. ${about.privacy}`;
  const fields = about.fields.map((name, place) => {
    const area = make("textarea", {
      id: `field-${place}`,
      rows: about.fields.length > 1 ? "3" : "5",
      name,
    });
    element("fields").append(make("label", { for: `field-${place}` }, name), area);
    return area;
  });
  const form = element("one-form", HTMLFormElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const input = Object.fromEntries(
      fields.map((area, place) => [about.fields[place] as string, area.value]),
    );
    void classify(engine, input);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  offerTable(engine, threshold);
  describe(engine);
  show("ready");
  fields[0]?.focus({ preventScroll: true });
}

async function classify(engine: Engine, input: Record<string, string>): Promise<void> {
  const button = element("classify", HTMLButtonElement);
  const result = element("result");
  button.disabled = true;
  element("error").hidden = true;
  try {
    const { answers, milliseconds } = await engine.predict([input], threshold());
    for (const answer of answers) {
      const [, share] = ranked(answer)[0] ?? ["", 0];
      const verdict = element("verdict");
      verdict.classList.toggle("unsure", answer.unsure);
      verdict.replaceChildren(
        answer.label ?? "Unsure",
        make("span", { class: "unseen" }, `, ${percent(share)}`),
      );
      result.replaceChildren(...rendered(answer, milliseconds, engine.about.sizeBytes));
    }
  } catch (error) {
    element("verdict").replaceChildren();
    result.replaceChildren();
    fail(error);
  } finally {
    button.disabled = false;
  }
}

function ranked(answer: Answer): [string, number][] {
  return Object.entries(answer.probabilities).sort(([, a], [, b]) => b - a);
}

function rendered(answer: Answer, milliseconds: number, sizeBytes: number): Node[] {
  const bars = ranked(answer).map(([label, share]) => {
    const filled = make("span");
    filled.style.width = `${(100 * share).toFixed(2)}%`;
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, filled);
    return make(
      "li",
      { class: label === answer.label ? "best" : "" },
      make("span", { class: "name" }, label),
      bar,
      make("span", { class: "share" }, percent(share)),
    );
  });
  const numbers = [`${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`];
  if (answer.tokens !== undefined) numbers.push(`${answer.tokens} tokens`);
  numbers.push(`${megabytes(sizeBytes)} model`);
  const shown: Node[] = [
    make("ol", { class: "bars", "aria-label": "Probabilities" }, ...bars.slice(0, SHOWN)),
  ];
  if (bars.length > SHOWN) {
    const rest = make(
      "ol",
      { class: "bars", "aria-label": "Other probabilities" },
      ...bars.slice(SHOWN),
    );
    shown.push(
      make("details", {}, make("summary", {}, `${bars.length - SHOWN} more labels`), rest),
    );
  }
  if (answer.unsure)
    shown.push(make("p", { class: "note" }, `No label reaches ${percent(threshold() ?? 0)}.`));
  if (answer.shortened)
    shown.push(make("p", { class: "note" }, "The text was too long: only its beginning was read."));
  return [...shown, make("p", { class: "numbers" }, numbers.join(" · "))];
}

/** The probability that an answer must reach, as the person set it. */
function threshold(): number | null {
  const value = element("threshold", HTMLInputElement).valueAsNumber;
  return Number.isFinite(value) ? Math.min(1, Math.max(0, value / 100)) : null;
}

function describe(engine: Engine): void {
  const { about } = engine;
  const least = make("input", {
    type: "number",
    id: "threshold",
    min: "0",
    max: "100",
    step: "any",
    value: String(100 * (about.threshold ?? 0)),
  });
  const rows = about.details.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)),
  );
  const body = element("about-body");
  body.replaceChildren(
    make("p", {}, make("label", { for: "threshold" }, "Unsure below "), least, " %"),
    make("table", {}, make("tbody", {}, ...rows)),
  );
  if (engine.another)
    body.append(make("p", {}, make("a", { href: engine.another }, "Another bundle")));
  if (engine.verify) {
    const verify = engine.verify.bind(engine);
    const button = make("button", { type: "button", class: "plain" }, "Check this device");
    const said = make("span", { role: "status" });
    button.addEventListener("click", async () => {
      said.textContent = " …";
      said.textContent = await verify().then(
        (off) =>
          ` The recorded answers are the same here (largest difference ${off.toPrecision(2)}).`,
        (error: Error) => ` ${error.message}`,
      );
    });
    body.append(make("p", {}, button, said));
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
