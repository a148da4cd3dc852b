#!/usr/bin/env python3
"""Check a bundle against BUNDLE.md: `python check_bundle.py BUNDLE...`; exit 0 good, 1 faulty.

Written from that page alone, and shares no code with edgecd. It needs the packages onnxruntime
(with its numpy) and tokenizers. Every fault is one line: the bundle, where, what.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCES = {"fp32": 0.001, "fp16": 0.05, "int8": 0.25, "int4": 0.25}
FORMATS = {2: ("prompt",), 3: ("text", "pair")}
METHODS = ("none", "mend", "hypertuning", "gist", "prompt-tuning", "matching")
CONTEXT = "context.safetensors"
NEEDED = ("model.onnx", "tokenizer.json")
LISTED = (
    *(*NEEDED, CONTEXT, "README.md", "config.json", "tokenizer_config.json"),
    *(f"onnx/model{name}.onnx" for name in ("", "_fp16", "_quantized", "_q4")),
)
MIB, GIB = 1 << 20, 1 << 30
ID = 1 << 31
TOKENS = 1 << 20
TEXT = 65_536


class Fault(Exception):
    """A rule that the bundle breaks, in words."""


def need(holds: object, words: str) -> None:
    """Fault unless it holds."""
    if not holds:
        raise Fault(words)


# --- JSON values -------------------------------------------------------------------------------

Rule = Callable[[Any, str], Any]


def text(limit: int) -> Rule:
    def check(value: Any, where: str) -> str:
        need(isinstance(value, str) and 0 < len(value) <= limit, f"{where}: text of 1 to {limit}")
        need(not re.search("[\ud800-\udfff]", value), f"{where}: a lone surrogate")
        return str(value)

    return check


def whole(low: int, high: int) -> Rule:
    def check(value: Any, where: str) -> int:
        need(type(value) is int and low <= value <= high, f"{where}: whole from {low} to {high}")
        return int(value)

    return check


def number(value: Any, where: str) -> float:
    # Compared before it is made a float, which a very large integer cannot be. NaN compares false.
    good = type(value) in (int, float) and abs(value) <= 1e30
    need(good, f"{where}: a finite number")
    return float(value)


def one_of(*allowed: Any) -> Rule:
    def check(value: Any, where: str) -> Any:
        need(
            any(type(value) is type(one) and value == one for one in allowed), f"{where}: {value!r}"
        )
        return value

    return check


def maybe(rule: Rule) -> Rule:
    return lambda value, where: None if value is None else rule(value, where)


def listed(rule: Rule, most: int) -> Rule:
    def check(value: Any, where: str) -> list[Any]:
        need(type(value) is list and len(value) <= most, f"{where}: a list of at most {most}")
        return [rule(one, f"{where}[{place}]") for place, one in enumerate(value)]

    return check


def mapped(rule: Rule) -> Rule:
    def check(value: Any, where: str) -> dict[str, Any]:
        need(type(value) is dict, f"{where}: an object")
        return {name: rule(one, f"{where}.{name[:40]!r}") for name, one in value.items()}

    return check


def keyed(rules: dict[str, Rule], optional: tuple[str, ...] = ()) -> Rule:
    """An object with these keys, of which `optional` may be absent (None); others are dropped."""

    def check(value: Any, where: str) -> dict[str, Any]:
        need(type(value) is dict, f"{where}: an object")
        for name in rules:
            need(name in value or name in optional, f"{where}: {name!r} is missing")
        return {name: rule(value.get(name), f"{where}.{name}") for name, rule in rules.items()}

    return check


def anything(value: Any, where: str) -> Any:
    return value


def dimension(value: Any, where: str) -> Any:
    return text(64)(value, where) if isinstance(value, str) else whole(0, ID)(value, where)


def digits(value: Any, where: str) -> str:
    need(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value), f"{where}: 64 hex digits")
    return str(value)


TENSORS = mapped(keyed({"dtype": text(32), "shape": listed(dimension, 8)}))
TASK: dict[str, Rule] = {
    "task": text(256),
    "labels": listed(text(256), 4096),
    "verbalizer": mapped(text(TEXT)),
    "template": text(TEXT),
    "max_length": whole(1, TOKENS),
}
PARITY = keyed(
    {
        "examples": whole(0, ID),
        "label_flips": whole(0, ID),
        "max_abs_logit_diff": number,
        "accuracy_checkpoint": maybe(number),
        "accuracy_bundle": maybe(number),
    }
)
MANIFEST = keyed(
    {
        "format": one_of(*FORMATS),
        "form": anything,  # format 3's alone
        **TASK,
        "pad_token_id": whole(0, ID),
        "prefix_ids": listed(whole(0, ID), TOKENS),
        "precision": one_of(*TOLERANCES),
        "inputs": TENSORS,
        "outputs": TENSORS,
        "parity": PARITY,
        "provenance": mapped(anything),
        "samples": listed(
            keyed(
                {
                    "fields": mapped(text(TEXT)),
                    "input_ids": listed(whole(0, ID), TOKENS),
                    "logits": listed(number, 4096),
                }
            ),
            64,
        ),
        "files": mapped(keyed({"sha256": digits, "size_bytes": whole(1, ID)})),
        "language_model": maybe(text(64)),
        "threshold": maybe(number),
    },
    optional=("form", "language_model", "threshold"),
)
FACTS = keyed(
    {
        "format": one_of(1),
        "method": one_of(*METHODS),
        "language_model": keyed({"name": text(512), "fingerprint": text(64)}),
        **TASK,
        "shots": whole(0, TOKENS),
        "context_tokens": whole(0, TOKENS),
        "calibration": listed(number, 4096),
        "provenance": mapped(anything),
    }
)


def places(template: str) -> list[tuple[str, str | None]]:
    """(literal, field) pairs; the field is None behind the last place and at an escaped brace."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as bad:
        raise Fault(f"template: {bad}") from None
    for _, name, form, conversion in parts:
        plain = name is None or (name.isidentifier() and not form and not conversion)
        need(plain, f"template: {{{name}}} is no plain place")
    need(any(name is not None for _, name, _, _ in parts), "template: no place for the input")
    return [(literal, name) for literal, name, _, _ in parts]


def check_task(task: dict[str, Any]) -> None:
    """What labels, words and template of a manifest or a context must be together."""
    labels, words = task["labels"], task["verbalizer"]
    need(len(labels) >= 2, "labels: at least two")
    need(len(set(labels)) == len(labels), "labels: one appears twice")
    need(set(labels) == set(words), "verbalizer: its keys are not the labels")
    need(all(word.strip() for word in words.values()), "verbalizer: an empty word")
    need(len(set(words.values())) == len(words), "verbalizer: two labels share a word")
    places(task["template"])


def fields_of(template: str) -> list[str]:
    return list(dict.fromkeys(name for _, name in places(template) if name is not None))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest with every rule checked; `form` and `fields` are filled in."""
    path = folder / "manifest.json"
    need(plain_file(path), "manifest.json: no plain file")
    need(path.stat().st_size <= MIB, "manifest.json: over 1,048,576 bytes")
    try:
        raw = json.loads(
            path.read_bytes().decode(), object_pairs_hook=no_twins, parse_constant=none
        )
    except (ValueError, RecursionError) as bad:
        raise Fault(f"manifest.json: no strict JSON ({bad})") from None
    found: dict[str, Any] = MANIFEST(raw, "manifest")
    forms = FORMATS[found["format"]]
    if found["format"] == 2:
        found["form"] = forms[0]
    need(found["form"] in forms, f"form: {found['form']!r}")
    check_task(found)
    found["fields"] = fields_of(found["template"])
    fits = {"prompt": True, "text": len(found["fields"]) == 1, "pair": len(found["fields"]) > 1}
    need(fits[found["form"]], "form: text is of one field, pair of more")
    need(found["threshold"] is None or 0 <= found["threshold"] <= 1, "threshold: from 0 to 1")
    files = found["files"]
    for name in files:
        need(name in LISTED, f"files: {name[:40]!r} must not be listed")
    for name in NEEDED:
        need(name in files, f"files: {name} is not listed")
    open_model = found["language_model"] is not None
    need((CONTEXT in files) == open_model, f"files: {CONTEXT} belongs to a language_model")
    need(not open_model or found["format"] == 2, "language_model: in format 2 only")
    for sample in found["samples"]:
        need(set(sample["fields"]) == set(found["fields"]), "samples: not the template's fields")
        need(len(sample["logits"]) == len(found["labels"]), "samples: not a logit for each label")
    need(found["samples"], "samples: there is none")
    return found


def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key appears twice")
    return made


def none(name: str) -> Any:
    raise ValueError(name)


# --- files -------------------------------------------------------------------------------------


def plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def check_file(folder: Path, name: str, said: dict[str, Any]) -> None:
    path = folder / name
    need(plain_file(path), f"{name}: no plain file")
    need(path.stat().st_size == said["size_bytes"], f"{name}: its size is not size_bytes")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    need(digest == said["sha256"], f"{name}: its SHA-256 is not the manifest's")


# The fields of onnx.proto through which a tensor can be reached: message -> field -> message.
ONNX: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "opset": {},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
REFUSED = ("training", "function", "sparse")
DOMAINS = (b"", b"ai.onnx", b"com.microsoft")
OPERATORS = (
    b"Loop Scan If SequenceMap EPContext ATen PythonOp PythonOpGrad RandomNormal RandomNormalLike "
    b"RandomUniform RandomUniformLike Multinomial Bernoulli".split()
)


class Varints:
    """Reads the numbers of a protocol buffer from a place on."""

    def __init__(self, data: memoryview, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def next(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            need(self.at < self.end, "model.onnx: no ONNX file (it ends within a number)")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                short = (byte > 0 or shift == 0) and value < 1 << 64
                need(short, "model.onnx: a number is written longer than it need be")
                return value
        raise Fault("model.onnx: no ONNX file (a number without end)")


def wire(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int | tuple[int, int]]]:
    """(field, wire type, value) of a message; what has a length is its (start, end)."""
    numbers = Varints(data, at, end)
    while numbers.at < end:
        key = numbers.next()
        field, kind = key >> 3, key & 7
        need(0 < field < 1 << 29, f"model.onnx: no ONNX file (field {field})")
        need(kind in (0, 1, 2, 5), f"model.onnx: no ONNX file (wire type {kind})")
        value: int | tuple[int, int] = 0
        if kind == 0:
            value = numbers.next()
        else:
            size = {1: 8, 5: 4}.get(kind) or numbers.next()
            value = (numbers.at, numbers.at + size)
            numbers.at += size
        need(numbers.at <= end, "model.onnx: no ONNX file (a field ends behind its message)")
        yield field, kind, value


def check_graph(content: bytes) -> None:
    """Nothing in the graph that a runtime had better not read."""
    need(0 < len(content) <= ID, "model.onnx: empty, or over 2^31 bytes")
    data = memoryview(content)
    todo, counts = [("model", "", 0, len(content))], {"node": 0, "tensor": 0}
    while todo:
        message, within, start, end = todo.pop()
        need(message not in REFUSED, f"model.onnx: it has a {message}")
        need(message != "graph" or within == "model", "model.onnx: a graph within its graph")
        if message in counts:
            counts[message] += 1
        if message == "tensor":
            check_tensor(data, start, end)
            continue
        for field, kind, value in wire(data, start, end):
            if kind != 2 or not isinstance(value, tuple):
                continue
            if field in ONNX[message]:
                todo.append((ONNX[message][field], message, *value))
            elif message == "node" and field == 4:
                name = bytes(data[slice(*value)])
                need(name not in OPERATORS, f"model.onnx: the operator {name!r}")
            elif (message, field) in (("node", 7), ("opset", 1)):
                domain = bytes(data[slice(*value)])
                need(domain in DOMAINS, f"model.onnx: operators of {domain[:40]!r}")
    few = counts["node"] <= 200_000 and counts["tensor"] <= 100_000
    need(few, "model.onnx: more nodes or tensors than any model has")


def check_tensor(data: memoryview, start: int, end: int) -> None:
    elements = 1
    for field, kind, value in wire(data, start, end):
        elsewhere = field == 13 or (field == 14 and (kind != 0 or value != 0))
        need(not elsewhere, "model.onnx: weights in another file")
        if field == 1 and isinstance(value, int):
            elements *= value
        elif field == 1 and isinstance(value, tuple):
            packed = Varints(data, *value)
            while packed.at < packed.end:
                elements *= packed.next()
    need(elements <= 4 * (end - start), "model.onnx: a tensor larger than its values")


# --- contexts ----------------------------------------------------------------------------------

KINDS = {"F32": "<f4", "F16": "<f2", "I8": "<i1"}


def read_context(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of a context, and the graph's constant inputs `past` and `head`."""
    need(path.stat().st_size <= GIB, f"{CONTEXT}: over 2^30 bytes")
    raw, tensors = safetensors(path.read_bytes())
    need(type(raw) is dict, f"{CONTEXT}: its facts are no object")
    said = digits(raw.pop("sha256", None), f"{CONTEXT}.sha256")
    need(said == context_digest(raw, tensors), f"{CONTEXT}: its SHA-256 is not the one inside")
    facts = FACTS(raw, CONTEXT)
    check_task(facts)
    rows = len(facts["labels"])
    need(len(facts["calibration"]) in (0, rows), f"{CONTEXT}: calibration is not one a label")
    made_for = facts["language_model"]["fingerprint"]
    need(made_for == manifest["language_model"], f"{CONTEXT}: made for another language model")
    constants = arrays(tensors)
    need(len(constants["head"]) == rows, f"{CONTEXT}: head has not a row for each label")
    for name, array in constants.items():
        need(np.isfinite(array).all(), f"{CONTEXT}: {name} has values that are not finite")
        shape = manifest["inputs"].get(name, {"shape": []})["shape"]
        fits = len(shape) == array.ndim and all(
            isinstance(size, str) or size == there
            for size, there in zip(shape, array.shape, strict=True)
        )
        need(fits, f"{CONTEXT}: {name} does not fit the graph")
    return facts, constants


def safetensors(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """The facts and the tensors of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    need(len(content) >= 8 and size <= min(MIB, len(content) - 8), f"{CONTEXT}: no safetensors")
    try:
        header = json.loads(content[8 : 8 + size].decode(), object_pairs_hook=no_twins)
        raw = json.loads(header.pop("__metadata__")["edgecd"])
        parts = {
            name: (
                one["dtype"],
                [int(x) for x in one["shape"]],
                [int(x) for x in one["data_offsets"]],
            )
            for name, one in header.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as bad:
        raise Fault(f"{CONTEXT}: no safetensors ({bad})") from None
    data, tensors, ends = content[8 + size :], {}, [0]
    for name, (kind, shape, span) in sorted(parts.items(), key=lambda part: part[1][2]):
        need(kind in KINDS, f"{CONTEXT}: the tensor {name[:40]!r} is {kind}")
        kind_of, count = np.dtype(KINDS[kind]), math.prod(shape)
        need(len(span) == 2 and span[0] == ends[-1], f"{CONTEXT}: its tensors are not in a row")
        whole_size = min(shape, default=0) >= 0 and span[1] - span[0] == count * kind_of.itemsize
        need(whole_size and span[1] <= len(data), f"{CONTEXT}: {name[:40]!r} has another size")
        tensors[name] = np.frombuffer(data, kind_of, count, span[0]).reshape(shape)
        ends.append(span[1])
    need(ends[-1] == len(data), f"{CONTEXT}: bytes of no tensor")
    return raw, tensors


def context_digest(raw: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype.name}{list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def arrays(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`past` and `head` of a context's tensors, whose kinds and shapes are checked."""
    for name in tensors:
        known = name in ("head", "keys", "values", "keys_scale", "values_scale")
        need(known, f"{CONTEXT}: unknown tensor {name[:40]!r}")
    for name, kinds, dimensions in (
        ("head", ("float32",), 2),
        ("keys", ("int8", "float16"), 4),
        ("values", ("int8", "float16"), 4),
    ):
        need(name in tensors, f"{CONTEXT}: the tensor {name} is missing")
        fits = tensors[name].dtype.name in kinds and tensors[name].ndim == dimensions
        need(fits, f"{CONTEXT}: {name} has another kind or shape")
    wide = []
    for name, axis in (("keys", 2), ("values", 3)):
        array, scale = tensors[name], tensors.get(f"{name}_scale", np.array(()))
        if array.dtype.name == "int8":
            shape = [1 if place == axis else size for place, size in enumerate(array.shape)]
            good = (
                scale is not None and scale.dtype.name == "float32" and list(scale.shape) == shape
            )
            need(good, f"{CONTEXT}: {name}_scale does not belong to {name}")
            wide.append(array.astype(np.float32) * scale)
        else:
            wide.append(array.astype(np.float32))
    same = wide[0].shape == wide[1].shape and 0 not in wide[0].shape
    need(same, f"{CONTEXT}: keys and values do not belong together")
    return {"past": np.stack(wide, axis=1), "head": tensors["head"]}


# --- from text to answers ----------------------------------------------------------------------


STEPS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}


def check_tokenizer(path: Path) -> None:
    """What the library should not be given; that it knows each step, it says itself."""
    need(path.stat().st_size <= 48 * MIB, "tokenizer.json: over 48 MiB")
    try:
        raw = json.loads(path.read_bytes().decode(), object_pairs_hook=no_twins)
    except (ValueError, RecursionError) as bad:
        raise Fault(f"tokenizer.json: no strict JSON ({bad})") from None
    need(type(raw) is dict and type(raw.get("model")) is dict, "tokenizer.json: no model")
    model, added = raw["model"], raw.get("added_tokens") or []
    kind = model.get("type", "BPE" if "merges" in model else "WordLevel")
    known = ("BPE", "Unigram", "WordPiece", "WordLevel")
    need(kind in known, f"tokenizer.json: the model {str(kind)[:40]!r}")
    need(not model.get("dropout"), "tokenizer.json: dropout")
    good = type(added) is list and len(added) <= 30_000
    need(good, "tokenizer.json: added_tokens: a list of at most 30,000")
    for part, inner in STEPS.items():
        todo = [raw.get(part)]
        while todo:
            step = todo.pop()
            need(step is None or type(step) is dict, f"tokenizer.json: {part}")
            if step is not None and step.get("type") == "Sequence":
                need(type(step.get(inner)) is list, f"tokenizer.json: {part}")
                todo += step[inner]


def load_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    check_tokenizer(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as bad:  # a panic of the library is no Exception
        if isinstance(bad, KeyboardInterrupt | SystemExit):
            raise
        raise Fault(f"tokenizer.json: {first_line(bad)}") from None
    return as_text(tokenizer)


def as_text(tokenizer: Any) -> Any:
    """The tokenizer, so that it finds no control token in a text, and reads texts whole."""
    from tokenizers import AddedToken, Regex, pre_tokenizers

    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = tokenizer.get_added_tokens_decoder()
    control = {
        number: token
        for number, token in added.items()
        if token.special or re.fullmatch(r"<.+>|\[.+\]", token.content, re.DOTALL)
    }
    tokenizer.add_special_tokens(
        [
            AddedToken(token.content, normalized=token.normalized, special=True)
            for token in control.values()
            if not token.special
        ]
    )
    tokenizer.encode_special_tokens = True
    spelled = {number: one.content for number, one in control.items() if len(one.content) > 1}

    def read() -> set[str]:
        seen = set()
        for token in spelled.values():
            for text in (token, f"x {token} {token}x"):
                found = tokenizer.encode(text, add_special_tokens=False)
                for number, (start, end) in zip(found.ids, found.offsets, strict=True):
                    if number in spelled and spelled[number] in text[start:end]:
                        seen.add(spelled[number])
        return seen

    if tokens := read():
        cuts = "|".join(f"{re.escape(one[0])}(?={re.escape(one[1:])})" for one in sorted(tokens))
        cut = pre_tokenizers.Split(Regex(cuts), "isolated")
        own = tokenizer.pre_tokenizer
        tokenizer.pre_tokenizer = cut if own is None else pre_tokenizers.Sequence([own, cut])
        need(not read(), "tokenizer.json: reads control tokens in a text")
    return tokenizer


def encode(
    tokenizer: Any, task: dict[str, Any], values: dict[str, str]
) -> tuple[list[int], list[int]]:
    """Token ids and type ids of one input, shortened where it is too long."""
    need(any(value.strip() for value in values.values()), "an input is empty")
    most = task["max_length"]
    values = {name: value[: max(8192, 32 * most)] for name, value in values.items()}

    def whole_input(given: dict[str, str]) -> Any:
        if task["form"] == "text":
            return tokenizer.encode(given[task["fields"][0]])
        if task["form"] == "pair":
            first, *others = (given[name] for name in task["fields"])
            return tokenizer.encode(first, "\n".join(others))
        rendered = "".join(
            literal + ("" if name is None else given[name])
            for literal, name in places(task["template"])
        )
        after = task["after_context"]
        return tokenizer.encode("\n\n" * after + rendered, add_special_tokens=not after)

    found = whole_input(values)
    if len(found.ids) > most:
        ends = {
            name: [end for _, end in tokenizer.encode(value, add_special_tokens=False).offsets]
            for name, value in values.items()
        }
        counts = [len(one) for one in ends.values()]
        budget = most - (len(found.ids) - sum(counts))
        level = max(counts)
        while level > 0 and sum(min(count, level) for count in counts) > budget:
            level -= 1
        while True:
            need(level >= 0, "the template alone is over max_length")
            cut = {
                name: value[: ends[name][level - 1] if level else 0]
                if len(ends[name]) > level
                else value
                for name, value in values.items()
            }
            found = whole_input(cut)
            if len(found.ids) <= most:
                break
            level -= 1
    ids, prefix = list(found.ids), task["prefix_ids"]
    need(ids[: len(prefix)] == prefix, "the ids do not start with prefix_ids")
    need(len(ids) > len(prefix), "an input is empty")
    return ids, list(found.type_ids)


def check_signature(session: Any, manifest: dict[str, Any]) -> None:
    """The graph's inputs and outputs are the manifest's, and a classifier's."""
    kinds = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}
    for what, there in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        found = {
            one.name: {
                "dtype": kinds.get(one.type, one.type),
                "shape": ["any" if size is None else size for size in one.shape],
            }
            for one in there
        }
        need(found == manifest[what], f"model.onnx: its {what} are not the manifest's")
    model = manifest["language_model"]
    wanted = {"input_ids": "int64", "attention_mask": "int64"}
    if model is not None:
        wanted.update(past="float32", head="float32")
    elif "token_type_ids" in manifest["inputs"]:
        wanted["token_type_ids"] = "int64"
    taken = {name: one["dtype"] for name, one in manifest["inputs"].items()}
    need(taken == wanted, "model.onnx: its inputs are not a bundle's")
    logits = manifest["outputs"].get("logits", {"dtype": "", "shape": []})
    columns = ["labels"] if model is not None else [len(manifest["labels"])]
    good = logits["dtype"] == "float32" and logits["shape"][1:] == columns
    need(good, "model.onnx: its logits are not float32 [batch, labels]")


def check_samples(
    session: Any, tokenizer: Any, manifest: dict[str, Any], constants: dict[str, Any]
) -> None:
    """Tokens and logits of the parity samples are the recorded ones."""
    samples = manifest["samples"]
    largest = max(abs(x) for sample in samples for x in sample["logits"])
    allowed = TOLERANCES[manifest["precision"]] * max(1.0, largest)
    for place, sample in enumerate(samples):
        ids, types = encode(tokenizer, manifest, sample["fields"])
        need(ids == sample["input_ids"], f"sample {place}: the tokenizer gives other ids")
        feed = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        given = {
            name: np.array([feed[name]], np.int64) for name in manifest["inputs"] if name in feed
        }
        try:
            (logits,) = session.run(["logits"], {**given, **constants})
        except Exception as bad:
            raise Fault(f"sample {place}: the graph does not run: {first_line(bad)}") from None
        need(logits.shape == (1, len(manifest["labels"])), f"sample {place}: {logits.shape} logits")
        need(np.isfinite(logits).all(), f"sample {place}: logits that are not finite")
        off = np.abs(logits[0] - manifest["calibration"] - np.array(sample["logits"])).max()
        need(off <= allowed, f"sample {place}: a logit is off by {off:.3g} ({allowed:.3g} allowed)")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def check(folder: Path) -> None:
    """Raise Fault with the first rule that the bundle breaks, in the order of BUNDLE.md."""
    import onnxruntime

    need(folder.is_dir(), "no such folder")
    manifest = read_manifest(folder)
    for name, said in manifest["files"].items():
        check_file(folder, name, said)
    check_graph((folder / "model.onnx").read_bytes())
    constants: dict[str, Any] = {}
    manifest.update(after_context=False, calibration=0)
    if manifest["language_model"] is not None:
        facts, constants = read_context(folder / CONTEXT, manifest)
        manifest.update({name: facts[name] for name in TASK}, after_context=True)
        manifest.update(fields=fields_of(facts["template"]))
        if facts["calibration"]:
            manifest["calibration"] = np.array(facts["calibration"], np.float32)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # On x86 without VNNI the usual 8-bit kernels overflow; elsewhere this changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as bad:
        raise Fault(f"model.onnx: onnxruntime cannot load it: {first_line(bad)}") from None
    check_signature(session, manifest)
    check_samples(session, tokenizer, manifest, constants)


def main(folders: list[str]) -> int:
    if not folders:
        print(__doc__)
        return 2
    faulty = False
    for folder in folders:
        try:
            check(Path(folder))
            print(f"{folder}: ok")
        except (Fault, OSError) as bad:
            print(f"{folder}: {bad}".replace("\n", " "))
            faulty = True
    return int(faulty)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
