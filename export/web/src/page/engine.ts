/** What the page asks for answers: a worker in this browser, or a server on this computer. */

import type { Prediction } from "../classifier.js";

export interface About {
  task: string;
  labels: string[];
  fields: string[];
  threshold: number | null;
  sizeBytes: number;
  /** Where it runs, as a phrase behind "runs". */
  where: string;
  /** Where a text goes, as a sentence. */
  privacy: string;
  /** Name and text of everything else there is to know. */
  details: [string, string][];
}

/** `tokens` is left out where the engine does not say. */
export type Answer = Omit<Prediction, "tokens"> & { tokens?: number };

export interface Answers {
  answers: Answer[];
  /** What it took, without the way there and back. */
  milliseconds: number;
}

export interface Engine {
  readonly about: About;
  /** Where another bundle can be chosen. */
  readonly another?: string;
  predict(inputs: Record<string, string>[], threshold: number | null): Promise<Answers>;
  /** Check the recorded samples here; the largest difference of a logit. */
  verify?(): Promise<number>;
}

/** What a manifest says about a model, for people. */
export function details(manifest: Record<string, unknown>): [string, string][] {
  const made = (manifest.provenance ?? {}) as Record<string, unknown>;
  const rows: [string, unknown][] = [
    ["task", manifest.task],
    ["labels", (manifest.labels as string[]).join(", ")],
    [
      "reads",
      manifest.form === undefined || manifest.form === "prompt"
        ? manifest.template
        : `the ${manifest.form as string}, without a template`,
    ],
    ["tokens at most", manifest.max_length],
    ["precision", manifest.precision],
    ["student", made.student],
    ["teacher", made.teacher],
    ["method", made.method],
    ["demonstrations", made.shots],
    [
      "parameters",
      typeof made.parameters === "number" ? made.parameters.toLocaleString("en") : undefined,
    ],
  ];
  return rows.flatMap(([name, value]) =>
    value === undefined || value === null || value === "" ? [] : [[name, String(value)]],
  );
}
