/** The page of `edgecd serve`: the model runs behind `predict` on the same computer. */

import { fail, show, start } from "./app.js";
import { details } from "./engine.js";
import type { About, Answers, Engine } from "./engine.js";
import "./style.css";

interface Bundle extends Record<string, unknown> {
  task: string;
  labels: string[];
  fields: string[];
  threshold: number | null;
  size_bytes: number;
  runtime: string;
}

async function ask<T>(path: string, body?: unknown): Promise<T> {
  const request: RequestInit =
    body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        };
  const answer = await fetch(path, request).catch(() => {
    throw new Error("the server does not answer: is edgecd serve still running?");
  });
  const value = (await answer.json()) as T & { error?: string };
  if (!answer.ok) throw new Error(value.error ?? `the server answers ${answer.status}`);
  return value;
}

class ServerEngine implements Engine {
  constructor(readonly about: About) {}

  static async load(): Promise<ServerEngine> {
    const bundle = await ask<Bundle>("bundle");
    return new ServerEngine({
      task: bundle.task,
      labels: bundle.labels,
      fields: bundle.fields,
      threshold: bundle.threshold,
      sizeBytes: bundle.size_bytes,
      where: `in edgecd serve on ${bundle.runtime}`,
      privacy: "What you type goes to the server that you started, and nowhere else.",
      details: details(bundle),
    });
  }

  predict(inputs: Record<string, string>[], threshold: number | null): Promise<Answers> {
    return ask<Answers>("predict", threshold === null ? { inputs } : { inputs, threshold });
  }
}

show("loading");
try {
  start(await ServerEngine.load());
} catch (error) {
  show(null);
  fail(error);
}
