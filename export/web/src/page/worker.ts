/** Loads a bundle and answers, away from the page's own thread. */

import type * as Ort from "onnxruntime-common";
import { loadBundle } from "../classifier.js";
import type { Classifier } from "../classifier.js";
import { fromFiles, fromUrl } from "../sources.js";
import { parseJson } from "../json.js";
import { MANIFEST } from "../manifest.js";
import type { Source } from "../sources.js";
import { details } from "./engine.js";
import type { About } from "./engine.js";
import type { Reply, Request, Settings } from "./protocol.js";

const KEPT = "edgecd-bundles";
let classifier: Classifier | null = null;

const send = (reply: Reply): void => self.postMessage(reply);

self.onmessage = async ({ data }: MessageEvent<Request>): Promise<void> => {
  try {
    send({ id: data.id, result: await answer(data) });
  } catch (error) {
    send({ id: data.id, error: String((error as Error)?.message ?? error) });
  }
};

async function answer(request: Request): Promise<unknown> {
  if (request.ask === "load") return load(request);
  if (classifier === null) throw new Error("no bundle is loaded");
  if (request.ask === "verify") return classifier.verify();
  const began = performance.now();
  const answers = await classifier.predictBatch(request.inputs, request.threshold ?? undefined);
  return { answers, milliseconds: performance.now() - began };
}

async function load({ files, url, settings }: Request & { ask: "load" }): Promise<About> {
  const began = performance.now();
  const cache = await self.caches?.open(KEPT).catch(() => undefined);
  let manifest: Record<string, unknown> = {};
  let sizeBytes = 0;
  const inner = files ? fromFiles(files) : fromUrl(url ?? "", cache ? { cache } : {});
  const source: Source = {
    async read(name, record, progress) {
      const bytes = await inner.read(name, record, progress);
      if (name === MANIFEST) manifest = parseJson(bytes, name) as Record<string, unknown>;
      sizeBytes += bytes.length;
      return bytes;
    },
    keep: async (name, record, bytes) => inner.keep?.(name, record, bytes),
  };
  const ort = await runtime(settings);
  await classifier?.dispose();
  classifier = null;
  const found = await loadBundle(source, {
    ort,
    session: { executionProviders: settings.webgpu ? ["webgpu", "wasm"] : ["wasm"] },
    progress: (...told) => send({ progress: told }),
  });
  classifier = found;
  // The first run takes longer: memory is laid out.
  await found.predict(Object.fromEntries(found.fields.map((name) => [name, "a"])));
  const threads = settings.threads === 1 ? "one thread" : `${settings.threads} threads`;
  return {
    task: found.manifest.task,
    labels: [...found.labels],
    fields: [...found.fields],
    threshold: found.manifest.threshold,
    sizeBytes,
    where: settings.webgpu ? "in this browser on WebGPU" : `in this browser on ${threads}`,
    privacy: "What you type stays in this browser.",
    details: [
      ...details(manifest),
      ["loaded in", `${((performance.now() - began) / 1000).toFixed(1)} s`],
    ],
  };
}

/** onnxruntime with its WebAssembly, of which the larger build for WebGPU is fetched only if asked for. */
async function runtime(settings: Settings): Promise<typeof Ort> {
  if (settings.webgpu) {
    const [ort, wasm, mjs] = await Promise.all([
      import("onnxruntime-web/webgpu"),
      import("onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url"),
      import("onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url"),
    ]);
    return prepared(ort as unknown as typeof Ort, wasm.default, mjs.default, settings);
  }
  const [ort, wasm, mjs] = await Promise.all([
    import("onnxruntime-web/wasm"),
    import("onnxruntime-web/ort-wasm-simd-threaded.wasm?url"),
    import("onnxruntime-web/ort-wasm-simd-threaded.mjs?url"),
  ]);
  return prepared(ort as unknown as typeof Ort, wasm.default, mjs.default, settings);
}

function prepared(ort: typeof Ort, wasm: string, mjs: string, { threads }: Settings): typeof Ort {
  const absolute = (path: string): string => new URL(path, self.location.href).href;
  ort.env.wasm.wasmPaths = { wasm: absolute(wasm), mjs: absolute(mjs) };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return ort;
}
