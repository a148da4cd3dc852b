/** A look into an ONNX file before a runtime reads it. (Field numbers: onnx.proto.) */

import { BundleError, need } from "./errors.js";

type Message = "model" | "opset" | "graph" | "node" | "attribute" | "tensor" | Refused;
type Refused = "training information" | "function" | "sparse tensor";

const INSIDE: Partial<Record<Message, Record<number, Message>>> = {
  model: { 7: "graph", 8: "opset", 20: "training information", 25: "function" },
  graph: { 1: "node", 5: "tensor", 15: "sparse tensor" },
  node: { 5: "attribute" },
  attribute: {
    5: "tensor",
    6: "graph",
    10: "tensor",
    11: "graph",
    22: "sparse tensor",
    23: "sparse tensor",
  },
};
const REFUSED: readonly Message[] = ["training information", "function", "sparse tensor"];
const DOMAINS = ["", "ai.onnx", "com.microsoft"];
const OPERATORS = [
  ..."Loop Scan If SequenceMap EPContext ATen PythonOp PythonOpGrad RandomNormal".split(" "),
  ..."RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli".split(" "),
];
const MAX_BYTES = 2 ** 31;
const MAX_NODES = 200_000;
const MAX_TENSORS = 100_000;

interface Field {
  number: number;
  wire: number;
  /** The number, of wire type 0. */
  value: number;
  start: number;
  end: number;
}

/** Throw BundleError when the graph may not be handed to a runtime. */
export function checkGraph(data: Uint8Array): void {
  need(data.length > 0 && data.length <= MAX_BYTES, "model.onnx is empty, or too large");
  const todo: [Message, Message | null, number, number][] = [["model", null, 0, data.length]];
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  let [nodes, tensors] = [0, 0];
  for (let next = todo.pop(); next; next = todo.pop()) {
    const [message, within, start, end] = next;
    need(!REFUSED.includes(message), `model.onnx has a ${message}, which a bundle must not`);
    need(message !== "graph" || within === "model", "model.onnx has a graph within its graph");
    if (message === "tensor") {
      tensors += 1;
      checkTensor(data, start, end);
      continue;
    }
    if (message === "node") nodes += 1;
    need(nodes <= MAX_NODES && tensors <= MAX_TENSORS, "model.onnx has too many parts");
    for (const field of fields(data, start, end)) {
      if (field.wire !== 2) continue;
      const inside = INSIDE[message]?.[field.number];
      const word = (): string => text.decode(data.subarray(field.start, field.end));
      if (inside) todo.push([inside, message, field.start, field.end]);
      else if (message === "node" && field.number === 4) {
        need(!OPERATORS.includes(word()), `model.onnx has the operator ${word()}`);
      } else if (field.number === (message === "node" ? 7 : message === "opset" ? 1 : 0)) {
        need(DOMAINS.includes(word()), `model.onnx has operators of ${word().slice(0, 40)}`);
      }
    }
  }
}

function checkTensor(data: Uint8Array, start: number, end: number): void {
  let elements = 1;
  for (const field of fields(data, start, end)) {
    const located = field.number === 14 && (field.wire !== 0 || field.value !== 0);
    const elsewhere = field.number === 13 || located;
    need(!elsewhere, "model.onnx keeps weights in another file, which a bundle must not");
    if (field.number !== 1) continue;
    if (field.wire === 0) elements *= field.value;
    else if (field.wire === 2) {
      const sizes = new Numbers(data, field.start, field.end);
      while (sizes.at < sizes.end) elements *= sizes.next();
    }
  }
  need(elements <= 4 * (end - start), "model.onnx has a tensor that is larger than its values");
}

/** Reads the numbers of a protocol buffer from a place on. */
class Numbers {
  constructor(
    private readonly data: Uint8Array,
    public at: number,
    readonly end: number,
  ) {}

  next(): number {
    let value = 0; // exact up to 2^53, and what is larger is no length
    for (let place = 0; place < 10; place += 1) {
      if (this.at >= this.end) break;
      const byte = this.data[this.at++] as number;
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) {
        const long = (place > 0 && byte === 0) || (place === 9 && byte > 1);
        return long ? bad("a number is written longer than it need be") : value;
      }
    }
    return bad("a number has no end");
  }
}

function* fields(data: Uint8Array, start: number, end: number): Generator<Field> {
  const numbers = new Numbers(data, start, end);
  while (numbers.at < end) {
    const key = numbers.next();
    const [number, wire] = [Math.floor(key / 8), key % 8];
    if (number === 0 || number >= 2 ** 29) bad(`there is no field ${number}`);
    if (![0, 1, 2, 5].includes(wire)) bad(`unknown wire type ${wire}`);
    const value = wire === 0 ? numbers.next() : 0;
    const size = wire === 2 ? numbers.next() : wire === 1 ? 8 : wire === 5 ? 4 : 0;
    const from = numbers.at;
    numbers.at += size;
    if (numbers.at > end) bad("a field ends behind its message");
    yield { number, wire, value, start: from, end: numbers.at };
  }
}

function bad(why: string): never {
  throw new BundleError(`model.onnx is not an ONNX file: ${why}`);
}
