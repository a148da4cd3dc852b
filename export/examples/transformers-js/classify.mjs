/** An encoder's bundle in transformers.js: node classify.mjs FOLDER < texts.json
 *
 * FOLDER has transformers.js's layout: config.json, tokenizer.json, tokenizer_config.json and
 * onnx/model_quantized.onnx. Standard input is a JSON list of texts; a line is printed for each.
 */

import { text } from "node:stream/consumers";
import { basename, dirname, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const folder = resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const classify = await pipeline("text-classification", basename(folder), { dtype: "q8" });
for (const one of JSON.parse(await text(process.stdin))) {
  const shares = await classify(one, { top_k: null });
  console.log(JSON.stringify({ label: shares[0].label, probabilities: Object.fromEntries(shares.map(({ label, score }) => [label, score])) }));
}
