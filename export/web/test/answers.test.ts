/** A bundle answers in JavaScript as it does in Python. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { describe, expect, it } from "vitest";
import { batches } from "../src/classifier.js";
import { Encoder } from "../src/encoding.js";
import { loadBundle } from "../src/index.js";
import { parseManifest } from "../src/manifest.js";
import { cases, chosen } from "./bundles.js";

ort.env.wasm.numThreads = 1;

it.skipIf(cases.length > 0)(
  "needs bundles: run python export/web/test/make_bundles.py first",
  (context) => {
    context.skip();
  },
);

describe.each(cases)("$name", ({ bundle, answers }) => {
  it("has Python's token ids for every input, long ones included", () => {
    const manifest = parseManifest(readFileSync(join(bundle, "manifest.json")));
    const encoder = new Encoder(
      JSON.parse(readFileSync(join(bundle, "tokenizer.json"), "utf8")),
      manifest,
    );
    const other = answers.flatMap((one) => {
      const values = new Map(Object.entries(one.input));
      if (one.error !== undefined) {
        expect(() => encoder.encode(values), JSON.stringify(one.input)).toThrow();
        return [];
      }
      const found = encoder.encode(values);
      const same = String(found.ids) === String(one.ids) && found.shortened === one.shortened;
      const types = one.type_ids === null || String(found.typeIds) === String(one.type_ids);
      return same && types ? [] : [{ input: one.input, found, expected: one }];
    });
    expect(other).toEqual([]);
  });

  it("has Python's labels and probabilities", async () => {
    const classifier = await loadBundle(chosen(bundle), { ort });
    // In 8 bits a value at the border of two steps may be rounded to the other one.
    const close = classifier.manifest.precision === "int8" ? 0.02 : 1e-3;
    const good = answers.filter((one) => one.error === undefined);
    const found = await classifier.predictBatch(good.map((one) => one.input));
    found.forEach((one, place) => {
      const expected = good[place];
      for (const [label, share] of Object.entries(expected?.probabilities ?? {})) {
        expect(Math.abs((one.probabilities[label] ?? NaN) - share)).toBeLessThan(close);
      }
      expect([one.label, one.unsure, one.shortened]).toEqual([
        expected?.label,
        expected?.unsure,
        expected?.shortened,
      ]);
    });
    await classifier.dispose();
  }, 60_000);

  it("gives what was recorded at export, and one answer alone as among others", async () => {
    const classifier = await loadBundle(chosen(bundle), { ort });
    expect(await classifier.verify()).toBeLessThan(0.1);
    const inputs = answers.flatMap((one) => (one.error === undefined ? [one.input] : []));
    const input = inputs[20] ?? {};
    const alone = await classifier.predict(input);
    const among = (await classifier.predictBatch(inputs.slice(18, 30)))[2];
    expect(among?.label).toBe(alone.label);
    const certain = await classifier.predict(input, 1);
    expect([certain.label, certain.unsure]).toEqual([null, true]);
    await classifier.dispose();
  });
});

it("puts inputs of like lengths together", () => {
  expect(batches([5, 1, 4000, 2, 200], 3)).toEqual([[1, 3, 0], [4], [2]]);
  expect(batches([3, 2, 1], 1)).toEqual([[2], [1], [0]]);
});
