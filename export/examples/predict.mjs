/** A bundle in Node: node predict.mjs BUNDLE TEXT [TEXT ...]
 *
 * One TEXT for each field of the bundle's template. It needs `npm ci && npm run build:lib` in ../web;
 * outside of this repository, `import ... from "edgecd-web"`.
 */

import { openAsBlob } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fromFiles, loadBundle } from "../web/lib/index.js";

const [folder, ...texts] = process.argv.slice(2);
const files = await Promise.all(
  (await readdir(folder)).map(async (name) => new File([await openAsBlob(join(folder, name))], name)),
);
const classifier = await loadBundle(fromFiles(files));
if (texts.length !== classifier.fields.length) throw new Error(`give a text for each of: ${classifier.fields.join(", ")}`);
const input = Object.fromEntries(classifier.fields.map((name, place) => [name, texts[place]]));
const { label, probabilities } = await classifier.predict(input);
console.log(JSON.stringify({ label, probabilities }));
