/** The manifest of a bundle, parsed strictly. */

import { BundleError, need } from "./errors.js";
import { parseJson } from "./json.js";
import { finite, key, list, mapped, maybe, object, oneOf, text, whole } from "./rules.js";
import type { Rule } from "./rules.js";
import { fieldsOf, parseTemplate } from "./template.js";
import type { Piece } from "./template.js";

export const MANIFEST = "manifest.json";
export const MODEL = "model.onnx";
export const TOKENIZER = "tokenizer.json";
// What stands beside a bundle's own files is transformers.js's layout of the same encoder.
const LISTED = [
  ...[MODEL, TOKENIZER, "context.safetensors", "README.md", "config.json", "tokenizer_config.json"],
  ...["", "_fp16", "_quantized", "_q4"].map((name) => `onnx/model${name}.onnx`),
];
const MAX_BYTES = 1 << 20;
const MAX_TOKENS = 1 << 20;
const MAX_ID = 2 ** 31;
const PRECISIONS = ["fp32", "fp16", "int8", "int4"] as const;

export type Form = "prompt" | "text" | "pair";

export interface FileRecord {
  sha256: string;
  sizeBytes: number;
}

export interface TensorSpec {
  dtype: string;
  shape: (string | number)[];
}

export interface Sample {
  fields: ReadonlyMap<string, string>;
  inputIds: number[];
  logits: number[];
}

export interface Manifest {
  format: number;
  form: Form;
  task: string;
  labels: string[];
  template: string;
  pieces: Piece[];
  fields: string[];
  maxLength: number;
  padTokenId: number;
  prefixIds: number[];
  precision: (typeof PRECISIONS)[number];
  inputs: ReadonlyMap<string, TensorSpec>;
  outputs: ReadonlyMap<string, TensorSpec>;
  provenance: Record<string, unknown>;
  samples: Sample[];
  files: ReadonlyMap<string, FileRecord>;
  threshold: number | null;
}

const ids = list(whole(0, MAX_ID), MAX_TOKENS);

const fileRecord: Rule<FileRecord> = (value, where) => {
  const raw = object(value, where);
  const sha256 = key(raw, "sha256", text(64));
  need(/^[0-9a-f]{64}$/.test(sha256), `${where}.sha256 must be 64 hexadecimal digits, lower case`);
  return { sha256, sizeBytes: key(raw, "size_bytes", whole(1, MAX_ID)) };
};

const tensorSpec: Rule<TensorSpec> = (value, where) => {
  const raw = object(value, where);
  const size: Rule<string | number> = (one, place) =>
    typeof one === "string" ? text(64)(one, place) : whole(0, MAX_ID)(one, place);
  return { dtype: key(raw, "dtype", text(32)), shape: key(raw, "shape", list(size, 8)) };
};

const sample: Rule<Sample> = (value, where) => {
  const raw = object(value, where);
  return {
    fields: key(raw, "fields", mapped(text())),
    inputIds: key(raw, "input_ids", ids),
    logits: key(raw, "logits", list(finite, 4096)),
  };
};

/** A manifest from the bytes of `manifest.json`; BundleError says what is wrong with it. */
export function parseManifest(bytes: Uint8Array): Manifest {
  need(bytes.length <= MAX_BYTES, `${MANIFEST} is over ${MAX_BYTES} bytes: not a manifest`);
  try {
    return checked(object(parseJson(bytes, "it"), "it"));
  } catch (error) {
    if (error instanceof BundleError) throw new BundleError(`${MANIFEST}: ${error.message}`);
    throw error;
  }
}

function checked(raw: Record<string, unknown>): Manifest {
  const format = key(raw, "format", whole(0, MAX_ID));
  need(format === 2 || format === 3, `format ${format} is not known here (2 and 3 are)`);
  const form: Form = format === 2 ? "prompt" : key(raw, "form", oneOf<Form>("text", "pair"));
  const labels = key(raw, "labels", list(text(256), 4096));
  const words = key(raw, "verbalizer", mapped(text()));
  const sameNames = labels.every((label) => words.has(label)) && words.size === labels.length;
  need(
    sameNames && new Set(labels).size === labels.length,
    "labels and verbalizer must have the same names, each once",
  );
  need(labels.length >= 2, "a task needs at least two labels");
  const spoken = [...words.values()];
  need(
    spoken.every((word) => word.trim()),
    "a label's word is empty",
  );
  need(new Set(spoken).size === spoken.length, "two labels share a word");
  const template = key(raw, "template", text());
  const pieces = parseTemplate(template);
  const fields = fieldsOf(pieces);
  need(
    form === "prompt" || (form === "text") === (fields.length === 1),
    "form: text is of one field, pair of more",
  );
  const parity = key(raw, "parity", object);
  for (const name of ["examples", "label_flips"]) key(parity, name, whole(0, MAX_ID));
  key(parity, "max_abs_logit_diff", finite);
  for (const name of ["accuracy_checkpoint", "accuracy_bundle"]) key(parity, name, maybe(finite));
  const samples = key(raw, "samples", list(sample, 64));
  for (const one of samples) {
    const same = one.fields.size === fields.length && fields.every((name) => one.fields.has(name));
    need(same, "samples: the fields are not those of the template");
    need(one.logits.length === labels.length, "samples: not a logit for each label");
  }
  const threshold = maybe(finite)(raw.threshold, "threshold");
  need(threshold === null || (threshold >= 0 && threshold <= 1), "threshold must be from 0 to 1");
  const model = maybe(text(64))(raw.language_model, "language_model");
  need(model === null, "this is a language model that takes contexts, which runs in edgecd only");
  return {
    format,
    form,
    task: key(raw, "task", text(256)),
    labels,
    template,
    pieces,
    fields,
    maxLength: key(raw, "max_length", whole(1, MAX_TOKENS)),
    padTokenId: key(raw, "pad_token_id", whole(0, MAX_ID)),
    prefixIds: key(raw, "prefix_ids", ids),
    precision: key(raw, "precision", oneOf(...PRECISIONS)),
    inputs: key(raw, "inputs", mapped(tensorSpec)),
    outputs: key(raw, "outputs", mapped(tensorSpec)),
    provenance: key(raw, "provenance", object),
    samples,
    files: fileRecords(raw),
    threshold,
  };
}

function fileRecords(raw: Record<string, unknown>): Map<string, FileRecord> {
  const files = key(raw, "files", mapped(fileRecord));
  for (const name of files.keys()) {
    need(LISTED.includes(name), `files: '${name.slice(0, 64)}' must not be listed`);
  }
  for (const name of [MODEL, TOKENIZER]) need(files.has(name), `files: ${name} is missing`);
  need(!files.has("context.safetensors"), "files: a context belongs to a language model only");
  return files;
}
