/** The page with the model in the browser: choose a bundle, then the rest is `app.ts`. */

import { show, start, fail, working } from "./app.js";
import { droppedFiles, element, onDrop } from "./dom.js";
import type { About, Answers, Engine } from "./engine.js";
import type { Reply, Request, Results, Settings } from "./protocol.js";
import "./style.css";

const asked = new URLSearchParams(location.search);

/** A worker with a loaded bundle. */
class BrowserEngine implements Engine {
  readonly about: About;
  readonly another = "./";
  private constructor(
    private readonly worker: Asked,
    about: About,
  ) {
    this.about = about;
  }

  static async load(files: File[] | null, url: string | null): Promise<BrowserEngine> {
    const worker = new Asked();
    return new BrowserEngine(
      worker,
      await worker.ask("load", { files, url, settings: settings() }),
    );
  }

  predict(inputs: Record<string, string>[], threshold: number | null): Promise<Answers> {
    return this.worker.ask("predict", { inputs, threshold });
  }

  verify(): Promise<number> {
    return this.worker.ask("verify", {});
  }
}

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** A worker, a promise for each question. */
class Asked {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, [(result: never) => void, (error: Error) => void]>();
  private last = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("progress" in data) {
        const [name, done, total] = data.progress;
        working(`Loading ${name} (${(done / 1e6).toFixed(1)} MB)…`, done, total);
        return;
      }
      const [resolve, reject] = this.waiting.get(data.id) ?? [];
      this.waiting.delete(data.id);
      if ("error" in data) reject?.(new Error(data.error));
      else resolve?.(data.result as never);
    };
    this.worker.onerror = (event) => {
      for (const [, reject] of this.waiting.values())
        reject(new Error(event.message || "the worker stopped"));
      this.waiting.clear();
    };
  }

  ask<K extends Request["ask"]>(
    ask: K,
    rest: Without<Extract<Request, { ask: K }>, "id" | "ask">,
  ): Promise<Results[K]> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, [resolve as (result: never) => void, reject]);
      this.worker.postMessage({ ...rest, id, ask });
    });
  }
}

/** Threads are allowed to isolated pages alone; more than four gain little on small models. */
function settings(): Settings {
  const cores = Math.min(4, navigator.hardwareConcurrency || 1);
  const threads = crossOriginIsolated ? Math.max(1, Number(asked.get("threads")) || cores) : 1;
  return { threads, webgpu: asked.has("webgpu") && "gpu" in navigator };
}

async function load(files: File[] | null, url: string | null): Promise<void> {
  show("loading");
  working("Loading…", 0, 0);
  try {
    start(await BrowserEngine.load(files, url));
  } catch (error) {
    show("choose");
    fail(error);
  }
}

function offerBundles(): void {
  for (const id of ["bundle-folder", "bundle-files"]) {
    const input = element(id, HTMLInputElement);
    input.addEventListener("change", () => {
      if (input.files?.length) void load([...input.files], null);
    });
  }
  onDrop(element("bundle-drop"), async (event) => load(await droppedFiles(event), null));
  element("address-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const next = new URL(location.href);
    next.searchParams.set("bundle", element("address", HTMLInputElement).value.trim());
    location.href = next.href; // an address that can be kept and passed on
  });
}

/** Keeps the page for when there is no network, and isolates it where the server does not. */
async function keep(): Promise<void> {
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return;
  await navigator.serviceWorker.register("./sw.js");
  await navigator.serviceWorker.ready;
  const started = performance.now(); // it takes hold of this page a moment later
  while (!navigator.serviceWorker.controller && performance.now() - started < 2_000) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (!crossOriginIsolated && !sessionStorage.getItem("isolated")) {
    sessionStorage.setItem("isolated", "tried");
    location.reload();
    await new Promise(() => undefined); // until the page is gone
  }
}

offerBundles();
show("loading");
await keep().catch(() => undefined); // without it the page works all the same
const bundle = asked.get("bundle");
if (bundle) await load(null, new URL(bundle, location.href).href);
else show("choose");
