/** Two pages of one source: the model in the browser (`dist/`), or behind `edgecd serve`. */

import { createHash } from "node:crypto";
import { defineConfig } from "vite";
import type { Plugin, UserConfig } from "vite";

const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Tells the service worker which files the page is made of; the runtime is kept when it is first used. */
const filesOfPage: Plugin = {
  name: "files-of-page",
  enforce: "post",
  generateBundle(_, bundle) {
    const names = Object.keys(bundle).filter((name) => !/^sw\.js$|ort-wasm|webgpu/.test(name));
    const worker = bundle["sw.js"];
    if (worker?.type !== "chunk") return;
    const build = createHash("sha256")
      .update(Object.keys(bundle).sort().join())
      .digest("hex")
      .slice(0, 12);
    worker.code = worker.code
      .replace("__FILES__", JSON.stringify(names.map((name) => `./${name}`)))
      .replace("__BUILD__", JSON.stringify(build));
  },
};

const entryOfServer: Plugin = {
  name: "entry-of-server",
  transformIndexHtml: {
    order: "pre",
    handler: (html) => html.replace("/src/page/browser.ts", "/src/page/server.ts"),
  },
};

/** One file for pages that are built with nothing, its WebAssembly beside it. */
const ONE_MODULE: UserConfig = {
  base: "./",
  build: {
    target: "es2022",
    outDir: "../examples/browser/edgecd-web",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      input: "src/index.ts",
      preserveEntrySignatures: "strict",
      output: { entryFileNames: "edgecd-web.js" },
    },
  },
};

export default defineConfig(({ mode }) => {
  if (mode === "module") return ONE_MODULE;
  const serve = mode === "serve";
  return {
    base: "./",
    plugins: serve ? [entryOfServer] : [filesOfPage],
    // onnxruntime's WebAssembly as files of their own, not inside the script.
    resolve: {
      conditions: [
        "onnxruntime-web-use-extern-wasm",
        "module",
        "browser",
        "production",
        "import",
        "default",
      ],
    },
    server: { headers: ISOLATED },
    preview: { headers: ISOLATED },
    worker: { format: "es" },
    build: {
      target: "es2022",
      outDir: serve ? "../../edgecd/serve/page" : "dist",
      emptyOutDir: true,
      modulePreload: false,
      assetsInlineLimit: 0,
      rollupOptions: {
        input: serve ? { index: "index.html" } : { index: "index.html", sw: "src/page/sw.ts" },
        output: {
          entryFileNames: (chunk) =>
            chunk.name === "sw" ? "sw.js" : serve ? "assets/[name].js" : "assets/[name]-[hash].js",
          ...(serve
            ? { assetFileNames: "assets/[name][extname]", chunkFileNames: "assets/[name].js" }
            : {}),
        },
      },
    },
    test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
  };
});
