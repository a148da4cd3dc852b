/** Processor time of one answer in WebAssembly on one thread: node measure.mjs BUNDLE TEXTS.jsonl
 *
 * Of texts of 40 to 50 tokens, whose field is `text`. Other work on the machine lengthens the time on
 * the clock, and this hardly. Needs `npm ci --ignore-scripts && npm run build:lib`.
 */

import { openAsBlob, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { fromFiles, loadBundle } from "./lib/index.js";

const [folder, lines] = process.argv.slice(2);
const [least, most, texts, rounds] = [40, 50, 25, 4];
ort.env.wasm.numThreads = 1;
const names = await readdir(folder);
const files = await Promise.all(
  names.map(async (name) => new File([await openAsBlob(join(folder, name))], name)),
);
const classifier = await loadBundle(fromFiles(files), { ort });
const near = [];
for (const line of readFileSync(lines, "utf8").split("\n")) {
  if (!line || near.length === texts) continue;
  const { text } = JSON.parse(line);
  const { tokens } = await classifier.predict(text);
  if (tokens >= least && tokens <= most) near.push(text);
}
const clock = [];
const began = process.cpuUsage();
for (const text of Array(rounds).fill(near).flat()) {
  const start = performance.now();
  await classifier.predict(text);
  clock.push(performance.now() - start);
}
const { user, system } = process.cpuUsage(began);
clock.sort((a, b) => a - b);
const shown = {
  answers: clock.length,
  processor_ms: (user + system) / 1000 / clock.length,
  p50_ms: clock[clock.length >> 1],
};
console.log(JSON.stringify(shown));
