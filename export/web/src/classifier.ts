/** A loaded bundle: inputs in, labels and probabilities out. */

import type * as Ort from "onnxruntime-common";
import { Encoder } from "./encoding.js";
import type { Encoded } from "./encoding.js";
import { BundleError, need } from "./errors.js";
import { checkGraph } from "./graph.js";
import { parseJson } from "./json.js";
import { MANIFEST, MODEL, TOKENIZER, parseManifest } from "./manifest.js";
import type { Manifest, TensorSpec } from "./manifest.js";
import { checkFile } from "./sources.js";
import type { Progress, Source } from "./sources.js";
import type { TokenizerFile } from "./tokenizer_file.js";

/** An input: its fields, or plain text where the template has one field. */
export type Input = string | Readonly<Record<string, string>>;

/** An answer. `label` is null where it is `unsure`: no probability reaches the threshold.
 *
 * `shortened` says that the input was too long and was cut; `tokens` how many it has.
 */
export interface Prediction {
  label: string | null;
  probabilities: Record<string, number>;
  unsure: boolean;
  shortened: boolean;
  tokens: number;
}

/** What loading takes.
 *
 * `ort` is the onnxruntime module, `onnxruntime-web/wasm` unless given: `onnxruntime-web/webgpu`
 * and `onnxruntime-node` have the same interface. `session` are its options for a session.
 */
export interface LoadOptions {
  ort?: typeof Ort;
  session?: Ort.InferenceSession.SessionOptions;
  progress?: Progress;
}

const MAX_ROWS = 32;
const MAX_TOKENS = 4_096;
const TOLERANCES = { fp32: 1e-3, fp16: 0.05, int8: 0.25, int4: 0.25 };

/** Load a bundle, every file checked against its hash; BundleError for what is none. */
export async function loadBundle(source: Source, options: LoadOptions = {}): Promise<Classifier> {
  const progress = options.progress ?? (() => undefined);
  const bytes = await source.read(MANIFEST, null, progress);
  const manifest = parseManifest(bytes);
  await source.keep?.(MANIFEST, null, bytes);
  const read = async (name: string): Promise<Uint8Array> => {
    const record = manifest.files.get(name);
    need(record, `${name} is not listed`);
    const content = await source.read(name, record, progress);
    await checkFile(name, content, record);
    await source.keep?.(name, record, content);
    return content;
  };
  const tokenizer = parseJson(await read(TOKENIZER), TOKENIZER) as TokenizerFile;
  const encoder = new Encoder(tokenizer, manifest);
  const model = await read(MODEL);
  checkGraph(model);
  const ort = options.ort ?? (await runtime());
  let session: Ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, { logSeverityLevel: 3, ...options.session });
  } catch (error) {
    throw new BundleError(`${MODEL}: onnxruntime cannot load it: ${firstLine(error)}`);
  }
  checkSignature(session, manifest);
  return new Classifier(manifest, encoder, session, ort);
}

/** onnxruntime-web, of which Node needs the whole: the part for WebAssembly fetches its file. */
async function runtime(): Promise<typeof Ort> {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  const whole = "onnxruntime-web"; // not a literal, so that no page is built with it
  const found: unknown = process?.versions?.node
    ? await import(/* @vite-ignore */ whole)
    : await import("onnxruntime-web/wasm");
  return found as typeof Ort;
}

/** A loaded bundle. Make one with `loadBundle`, and `dispose` of it at the end. */
export class Classifier {
  constructor(
    readonly manifest: Manifest,
    private readonly encoder: Encoder,
    private readonly session: Ort.InferenceSession,
    private readonly ort: typeof Ort,
  ) {}

  /** The labels, in the order of the logits. */
  get labels(): readonly string[] {
    return this.manifest.labels;
  }

  /** The names of an input's fields. */
  get fields(): readonly string[] {
    return this.manifest.fields;
  }

  /** The answer to one input. */
  async predict(input: Input, threshold?: number): Promise<Prediction> {
    return (await this.predictBatch([input], threshold))[0] as Prediction;
  }

  /** Answers to any number of inputs, in the same order; `threshold` in place of the bundle's.
   *
   * BundleError, with its place, for an input that lacks a field or is not text.
   */
  async predictBatch(inputs: readonly Input[], threshold?: number): Promise<Prediction[]> {
    const encoded = inputs.map((input, place) => {
      try {
        return this.encoder.encode(this.values(input));
      } catch (error) {
        if (error instanceof BundleError && inputs.length > 1)
          throw new BundleError(`input ${place}: ${error.message}`);
        throw error;
      }
    });
    const least = threshold ?? this.manifest.threshold ?? 0;
    const logits = await this.logits(encoded);
    return encoded.map(({ ids, shortened }, place) => {
      const shares = softmax(logits[place] as Float32Array);
      const best = shares.indexOf(Math.max(...shares));
      const unsure = (shares[best] as number) < least;
      const probabilities = Object.fromEntries(
        this.labels.map((label, column) => [label, shares[column] as number]),
      );
      return {
        label: unsure ? null : (this.labels[best] as string),
        probabilities,
        unsure,
        shortened,
        tokens: ids.length,
      };
    });
  }

  /** Check the recorded samples on this device; the largest difference of a logit. */
  async verify(): Promise<number> {
    const { samples, precision } = this.manifest;
    need(samples.length > 0, "the manifest has no parity samples");
    const encoded = samples.map((sample) => this.encoder.encode(sample.fields));
    encoded.forEach(({ ids }, place) => {
      need(
        String(ids) === String(samples[place]?.inputIds),
        `sample ${place}: the tokenizer gives other ids than were recorded`,
      );
    });
    const largest = Math.max(1, ...samples.flatMap((sample) => sample.logits.map(Math.abs)));
    const logits = await this.logits(encoded);
    const off = Math.max(
      ...logits.flatMap((row, place) =>
        [...row].map((value, column) => Math.abs(value - (samples[place]?.logits[column] ?? NaN))),
      ),
    );
    need(
      off <= TOLERANCES[precision] * largest,
      `a logit is off by ${off.toPrecision(3)} on this device`,
    );
    return off;
  }

  /** Free the memory of the session. */
  async dispose(): Promise<void> {
    await this.session.release();
  }

  private values(input: Input): Map<string, string> {
    const { fields } = this.manifest;
    need(
      typeof input !== "string" || fields.length === 1,
      `give each field by name: ${fields.join(", ")}`,
    );
    const given: Readonly<Record<string, unknown>> =
      typeof input === "string" ? { [fields[0] as string]: input } : input;
    return new Map(
      fields.map((name) => {
        const value = Object.hasOwn(given, name) ? given[name] : undefined;
        need(value !== undefined, `field '${name}' is missing`);
        need(typeof value === "string" && value.isWellFormed(), `field '${name}' is not text`);
        return [name, value];
      }),
    );
  }

  /** Logits of encoded inputs, a row each; int8 rows go alone, as a batch shares one scale. */
  private async logits(encoded: readonly Encoded[]): Promise<Float32Array[]> {
    const rows: Float32Array[] = Array<Float32Array>(encoded.length);
    const most = this.manifest.precision === "int8" ? 1 : MAX_ROWS;
    for (const places of batches(
      encoded.map((one) => one.ids.length),
      most,
    )) {
      const some = places.map((place) => encoded[place] as Encoded);
      const found = await this.run(some);
      places.forEach((place, row) => {
        rows[place] = found.subarray(row * this.labels.length, (row + 1) * this.labels.length);
      });
    }
    return rows;
  }

  private async run(some: readonly Encoded[]): Promise<Float32Array> {
    const width = Math.max(...some.map((one) => one.ids.length));
    const tensor = (value: (one: Encoded, column: number) => number): Ort.Tensor => {
      const data = new BigInt64Array(some.length * width);
      some.forEach((one, row) => {
        for (let column = 0; column < width; column++)
          data[row * width + column] = BigInt(value(one, column));
      });
      return new this.ort.Tensor("int64", data, [some.length, width]);
    };
    const feed: Record<string, Ort.Tensor> = {
      input_ids: tensor((one, column) => one.ids[column] ?? this.manifest.padTokenId),
      attention_mask: tensor((one, column) => (column < one.ids.length ? 1 : 0)),
    };
    if (this.manifest.inputs.has("token_type_ids"))
      feed.token_type_ids = tensor((one, column) => one.typeIds[column] ?? 0);
    let logits: Ort.Tensor | undefined;
    try {
      logits = (await this.session.run(feed, ["logits"])).logits;
    } catch (error) {
      throw new BundleError(`onnxruntime cannot run the graph: ${firstLine(error)}`);
    }
    const data = logits?.data;
    const fits =
      data instanceof Float32Array &&
      String(logits?.dims) === String([some.length, this.labels.length]);
    need(fits, "the graph does not give a row of logits for each input");
    need(data.every(Number.isFinite), "the graph gives logits that are not finite");
    return data;
  }
}

function checkSignature(session: Ort.InferenceSession, manifest: Manifest): void {
  const compare = (
    what: string,
    found: readonly Ort.InferenceSession.ValueMetadata[],
    said: ReadonlyMap<string, TensorSpec>,
  ): void => {
    const words = (specs: Iterable<[string, TensorSpec]>): string =>
      [...specs]
        .map(([name, spec]) => `${name} ${spec.dtype}[${spec.shape.join(", ")}]`)
        .sort()
        .join("; ");
    const there = found.map((one): [string, TensorSpec] => [
      one.name,
      one.isTensor
        ? {
            dtype: one.type,
            shape: one.shape.map((size) => (size === "" || size === -1 ? "any" : size)),
          }
        : { dtype: "", shape: [] },
    ]);
    need(
      words(there) === words(said),
      `the graph's ${what} are ${words(there)}, not ${words(said)}`,
    );
  };
  compare("inputs", session.inputMetadata, manifest.inputs);
  compare("outputs", session.outputMetadata, manifest.outputs);
  const known = new Set(["input_ids", "attention_mask", "token_type_ids"]);
  const names = [...manifest.inputs.keys()];
  const good =
    names.every((name) => known.has(name)) &&
    manifest.inputs.has("input_ids") &&
    manifest.inputs.has("attention_mask");
  need(
    good && [...manifest.inputs.values()].every((spec) => spec.dtype === "int64"),
    "the graph's inputs are not a bundle's",
  );
  const logits = manifest.outputs.get("logits");
  const columns =
    logits?.dtype === "float32" &&
    logits.shape.length === 2 &&
    logits.shape[1] === manifest.labels.length;
  need(columns, `the graph's logits must be float32 [batch, ${manifest.labels.length}]`);
}

/** Places in order of length, at most `rows` and 4,096 tokens a batch. */
export function batches(lengths: readonly number[], rows: number): number[][] {
  const order = lengths
    .map((_, place) => place)
    .sort((a, b) => (lengths[a] as number) - (lengths[b] as number));
  const made: number[][] = [];
  for (const place of order) {
    const last = made.at(-1);
    if (last && last.length < rows && (last.length + 1) * (lengths[place] as number) <= MAX_TOKENS)
      last.push(place);
    else made.push([place]);
  }
  return made;
}

function softmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((all, one) => all + one, 0);
  return powers.map((one) => one / sum);
}

function firstLine(error: unknown): string {
  return (
    String((error as Error)?.message ?? error)
      .split("\n")[0]
      ?.slice(0, 300) ?? ""
  );
}
