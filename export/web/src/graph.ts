/** A look into an ONNX file: does it point to other files? (Field numbers: onnx.proto.) */

import { BundleError, need } from "./errors.js";

type Message =
  "model" | "training" | "function" | "graph" | "node" | "attribute" | "sparse" | "tensor";

const INSIDE: Record<Message, Record<number, Message>> = {
  model: { 7: "graph", 20: "training", 25: "function" },
  training: { 1: "graph", 2: "graph" },
  function: { 7: "node", 11: "attribute" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: {},
};

/** Throw BundleError when the graph keeps tensors elsewhere, or is no ONNX file. */
export function checkGraph(data: Uint8Array): void {
  need(data.length > 0, "model.onnx is empty");
  const todo: [Message, number, number][] = [["model", 0, data.length]];
  let at = 0;
  let end = 0;
  const bad = (why: string): never => {
    throw new BundleError(`model.onnx is not an ONNX file: ${why}`);
  };
  const varint = (): number => {
    let value = 0; // exact up to 2^53, and nothing near it is a length
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) break;
      const byte = data[at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    return bad("a number has no end");
  };
  for (let message = todo.pop(); message; message = todo.pop()) {
    const [kind, from, to] = message;
    [at, end] = [from, to];
    while (at < end) {
      const tag = varint();
      const field = Math.floor(tag / 8);
      const wire = tag % 8;
      let value = 0;
      let start = at;
      if (wire === 0) value = varint();
      else if (wire === 2) {
        const size = varint();
        start = at;
        at += size;
      } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4;
      else bad(`unknown wire type ${wire}`);
      if (at > end) bad("a field ends behind its message");
      const inside = INSIDE[kind][field];
      if (wire === 2 && inside) todo.push([inside, start, at]);
      const external =
        kind === "tensor" &&
        ((wire === 2 && field === 13) || (wire === 0 && field === 14 && value !== 0));
      need(!external, "model.onnx keeps weights in another file, which a bundle must not");
    }
  }
}
