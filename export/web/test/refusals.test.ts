/** What is not exactly a bundle is refused, with a reason. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { describe, expect, it, vi } from "vitest";
import { checkGraph } from "../src/graph.js";
import { fromUrl, loadBundle } from "../src/index.js";
import { parseJson } from "../src/json.js";
import { fieldsOf, parseTemplate, render } from "../src/template.js";
import { cases, chosen } from "./bundles.js";

const bundle = cases.find((one) => one.name === "pair-int8")?.bundle ?? "";
const bytes = (name: string): Buffer => readFileSync(join(bundle, name));
const load = (changes: Record<string, Uint8Array | string | null>): Promise<unknown> =>
  loadBundle(chosen(bundle, changes), { ort });

/** The manifest with some keys changed. */
function edited(changes: Record<string, unknown>): string {
  return JSON.stringify({ ...JSON.parse(bytes("manifest.json").toString()), ...changes });
}

/** The manifest made to agree with another model. */
function withModel(content: Uint8Array): Record<string, Uint8Array | string> {
  const files = JSON.parse(bytes("manifest.json").toString()).files;
  const sha256 = createHash("sha256").update(content).digest("hex");
  files["model.onnx"] = { sha256, size_bytes: content.length };
  return { "model.onnx": content, "manifest.json": edited({ files }) };
}

describe.skipIf(!bundle)("a bundle", () => {
  it.each<[Record<string, unknown>, RegExp]>([
    [{ format: 1 }, /format 1 is not known/],
    [{ format: 4 }, /format 4 is not known/],
    [{ form: "prompt" }, /form must be one of text, pair/],
    [{ form: "text" }, /text is of one field/],
    [{ labels: ["a", "b"] }, /same names/],
    [{ labels: [] }, /same names/],
    [{ template: "{a.b} {c}" }, /not a plain place/],
    [{ template: "none" }, /no place/],
    [{ max_length: 0 }, /max_length must be a whole number/],
    [{ max_length: true }, /max_length must be a whole number/],
    [{ precision: "int2" }, /precision must be one of/],
    [{ threshold: 2 }, /threshold must be from 0 to 1/],
    [{ language_model: "x" }, /language model/],
    [{ task: "\ud800" }, /not valid Unicode/],
    [{ task: "x".repeat(257) }, /text of 1 to 256/],
    [{ inputs: {} }, /the graph's inputs are/],
    [{ files: {} }, /model.onnx is missing/],
    [{ files: { "../x": { sha256: "0".repeat(64), size_bytes: 1 } } }, /must not be listed/],
    [{ samples: undefined }, /'samples' is missing/],
  ])("with a manifest of %j is refused", async (changes, words) => {
    await expect(load({ "manifest.json": edited(changes) })).rejects.toThrow(words);
  });

  it("is refused where a file is missing, longer or changed", async () => {
    await expect(load({ "tokenizer.json": null })).rejects.toThrow(/tokenizer.json is missing/);
    await expect(load({ "manifest.json": null })).rejects.toThrow(/it has no manifest.json/);
    const longer = Buffer.concat([bytes("model.onnx"), Buffer.from([0])]);
    await expect(load({ "model.onnx": longer })).rejects.toThrow(/bytes, not the/);
    const flipped = bytes("model.onnx");
    flipped[flipped.length >> 1]! ^= 1;
    await expect(load({ "model.onnx": flipped })).rejects.toThrow(/model.onnx has been changed/);
  });

  it("is refused where onnxruntime cannot load the graph", async () => {
    await expect(load(withModel(Buffer.from([8, 9])))).rejects.toThrow(/onnxruntime cannot load/);
    await expect(load(withModel(Buffer.from("no graph")))).rejects.toThrow(/not an ONNX file/);
  });

  it("says which input is wrong", async () => {
    const classifier = await loadBundle(chosen(bundle), { ort });
    const good = { premise: "a", hypothesis: "b" };
    await expect(classifier.predict("x")).rejects.toThrow(/each field by name/);
    await expect(classifier.predictBatch([good, { premise: "a" }])).rejects.toThrow(
      /input 1: field 'hypothesis'/,
    );
    await expect(classifier.predict({ ...good, premise: "\ud800" })).rejects.toThrow(/not text/);
    expect(await classifier.predictBatch([])).toEqual([]);
  });

  it("comes from an address once, and is there without a network afterwards", async () => {
    const kept = new Map<string, Response>();
    const cache = {
      match: async (key: string) => kept.get(key)?.clone(),
      put: async (key: string, answer: Response) => void kept.set(key, answer),
    } as unknown as Cache;
    const fetched: string[] = [];
    vi.stubGlobal("fetch", async (url: URL) => {
      fetched.push(url.href);
      return new Response(new Uint8Array(bytes(url.pathname.split("/").at(-1) ?? "")));
    });
    const source = fromUrl("https://a.example/b?key=1", { cache });
    await loadBundle(source, { ort });
    expect(fetched).toEqual(
      ["manifest.json", "tokenizer.json", "model.onnx"].map(
        (name) => `https://a.example/b/${name}?key=1`,
      ),
    );
    await loadBundle(source, { ort });
    expect(fetched.slice(3)).toEqual(["https://a.example/b/manifest.json?key=1"]);
    vi.stubGlobal("fetch", async () => Promise.reject(new TypeError("offline")));
    expect((await loadBundle(source, { ort })).labels).toEqual(["entailment", "contradiction"]);
    await expect(loadBundle(fromUrl("https://a.example/c", { cache }), { ort })).rejects.toThrow(
      /cannot be fetched/,
    );
    vi.stubGlobal("fetch", async () => new Response(new Uint8Array(2 << 20)));
    await expect(loadBundle(fromUrl("https://a.example/d"), { ort })).rejects.toThrow(
      /longer than/,
    );
    vi.unstubAllGlobals();
  });
});

it("keys that appear twice are found at any depth, values and other objects are not keys", () => {
  const parse = (text: string): unknown => parseJson(new TextEncoder().encode(text), "it");
  for (const text of ['{"a":1,"a":2}', '{"b":[{"a":1,"\\u0061":2}]}', '{"a":{"c":1},"a":2}']) {
    expect(() => parse(text)).toThrow(/appears twice/);
  }
  expect(parse('{"a":"a","b":["a","a",{"a":1}],"c":{"a":"}:{\\""}}')).toBeTruthy();
  for (const text of ["\ufeff{}", "NaN", "{", ""])
    expect(() => parse(text)).toThrow(/not valid JSON/);
});

it("templates are read as Python reads them", () => {
  const pieces = parseTemplate("{{x}} {a} }}{b}{{ {a:}!");
  expect(fieldsOf(pieces)).toEqual(["a", "b"]);
  expect(
    render(
      pieces,
      new Map([
        ["a", "{b}"],
        ["b", "2"],
      ]),
    ),
  ).toBe("{x} {b} }2{ {b}!");
  for (const bad of ["{", "}", "{a", "a}", "{}", "{0}", "{a!r}", "{a:>3}", "{a b}", "{{a}}", ""]) {
    expect(() => parseTemplate(bad), bad).toThrow();
  }
});

/** A field of a protocol buffer with a length. */
function field(number: number, content: readonly number[]): number[] {
  return [number * 8 + 2, content.length, ...content];
}

/** A field whose number takes two bytes. */
function far(number: number, content: readonly number[]): number[] {
  const key = number * 8 + 2;
  return [(key & 127) | 128, key >> 7, content.length, ...content];
}

const word = (text: string): number[] => [...new TextEncoder().encode(text)];
const node = (...inside: number[][]): number[] => field(7, field(1, inside.flat()));
const tensor = (inside: number[]): number[] => field(7, field(5, inside));

it.each<[string, number[], RegExp | null]>([
  ["weights inside", tensor([8, 3, ...field(9, [1, 2, 3])]), null],
  ["weights elsewhere", tensor(field(13, [0])), /another file/],
  ["weights elsewhere by place", tensor([14 * 8, 1]), /another file/],
  ["weights here by place", tensor([14 * 8, 0]), null],
  ["weights elsewhere in an attribute", node(field(5, field(5, field(13, [])))), /another file/],
  ["huge weights", tensor([8, 127, 8, 127]), /larger than/],
  ["huge packed weights", tensor(field(1, [127, 127])), /larger than/],
  ["an ordinary node", node(field(4, word("MatMul")), field(7, word("com.microsoft"))), null],
  ["a loop", node(field(4, word("Loop"))), /operator Loop/],
  ["an answer by chance", node(field(4, word("Bernoulli"))), /operator Bernoulli/],
  ["a graph in a graph", node(field(5, field(6, []))), /within its graph/],
  ["another domain", node(field(7, word("other"))), /operators of other/],
  ["another domain's opset", field(8, field(1, word("other"))), /operators of other/],
  ["a function", far(25, []), /a function/],
  ["training", far(20, []), /training/],
  ["sparse weights", field(7, field(15, [])), /sparse/],
  ["a long number", [8, 0x89, 0], /longer than/],
  ["a long key", [0x88, 0, 9], /longer than/],
  ["a key over 32 bits", [0x88, 0x80, 0x80, 0x80, 0x10, 9], /no field/],
  ["a field 0", [0, 9], /no field 0/],
  ["a group", [0xb, 0xc], /wire type 3/],
  ["a cut field", [7 * 8 + 2, 9, 1], /ends behind/],
  ["a cut number", [8, 0x80], /no end/],
])("a graph with %s", (_, bytes, words) => {
  const look = (): void => checkGraph(new Uint8Array(bytes));
  if (words) expect(look).toThrow(words);
  else expect(look).not.toThrow();
});
