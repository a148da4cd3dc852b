"""Damaged copies of a bundle, each made by a number: the same one makes the same damage."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgecd.formats.bundle import MANIFEST
from edgecd.formats.manifest import MODEL, README, TOKENIZER

# What stands where something else is meant.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.0, 2.5, 1 << 31, (1 << 31) + 1, 10**40, 1e300, "", " ", "x", "1",
    "\ud800", "x" * 70_000, [], [1], ["a", "a"], {}, {"a": 1}, [[]],
)  # fmt: skip
TEMPLATES = (
    "no place", "{", "}", "{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{{premise}}",
    "{premise} {hypothesis", "{premise}} {hypothesis}", "{hypothesis} {premise}", "{class} x",
)  # fmt: skip
CHANGES: tuple[dict[str, Any], ...] = (
    {"format": 1}, {"format": 4}, {"format": "2"}, {"format": 2.0}, {"format": True},
    {"format": 3}, {"format": 3, "form": "prompt"}, {"format": 3, "form": "pair"},
    {"format": 3, "form": "text"}, {"form": "no"},
    {"format": 2}, {"precision": "int16"}, {"precision": ["int8"]}, {"precision": "int4"},
    {"max_length": 0}, {"max_length": 4}, {"max_length": 31}, {"max_length": 1 << 21},
    {"prefix_ids": [3]}, {"prefix_ids": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, {"prefix_ids": [-1]},
    {"threshold": 1.5}, {"threshold": -0.1}, {"threshold": 0.5}, {"threshold": "0.5"},
    {"threshold": True}, {"samples": []}, {"language_model": "abc"}, {"language_model": ""},
    {"labels": ["a", "b"]}, {"labels": []}, {"labels": ["contradiction", "entailment"]},
    {"verbalizer": {"entailment": " ", "contradiction": "x"}},
    {"verbalizer": {"entailment": "x", "contradiction": "x"}},
    {"verbalizer": {"entailment": "x"}}, {"pad_token_id": 1}, {"task": "x" * 257},
    {"inputs": {}}, {"outputs": {}}, {"later": [1]},
)  # fmt: skip

Change = Callable[[Path, random.Random], str]


def damaged(source: Path, copy: Path, number: int) -> tuple[str, str]:
    """Make `copy` of the bundle `source` with one damage; returns its kind and what it is."""
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(source, copy)
    rng = random.Random(number)
    kind = list(DAMAGES)[number % len(DAMAGES)]
    return kind, f"{kind}: {DAMAGES[kind](copy, rng)}"


def _read(bundle: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    return raw


def _write(bundle: Path, raw: Any) -> None:
    (bundle / MANIFEST).write_text(json.dumps(raw), encoding="utf-8")


def _hash_again(bundle: Path, name: str) -> None:
    """Make the manifest agree with a file, so that the damage shows behind the hashes."""
    raw, content = _read(bundle), (bundle / name).read_bytes()
    said = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    raw["files"][name] = said
    _write(bundle, raw)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to the values inside a JSON value; of a long list the first two items only."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += _places(one, (*path, key))
    elif isinstance(value, list):
        for place, one in enumerate(value[:2]):
            found += _places(one, (*path, place))
    return found


def _inside(raw: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        raw = raw[key]
    return raw


def _any_place(raw: dict[str, Any], rng: random.Random) -> tuple[Any, ...]:
    """Every key of the manifest as likely as any other, whatever it holds."""
    key = rng.choice([key for key in raw if key != "provenance"])
    return rng.choice(_places(raw[key], (key,)))


def _key_removed(bundle: Path, rng: random.Random) -> str:
    raw = _read(bundle)
    path = _any_place(raw, rng)
    del _inside(raw, path[:-1])[path[-1]]
    _write(bundle, raw)
    return str(path)


def _value_changed(bundle: Path, rng: random.Random) -> str:
    raw, odd = _read(bundle), rng.choice(ODD)
    path = _any_place(raw, rng)
    _inside(raw, path[:-1])[path[-1]] = odd
    _write(bundle, raw)
    return f"{path} = {str(odd)[:40]!r}"


def _key_changed(bundle: Path, rng: random.Random) -> str:
    change = rng.choice(CHANGES)
    _write(bundle, _read(bundle) | change)
    return str(change)[:80]


def _template_changed(bundle: Path, rng: random.Random) -> str:
    raw = _read(bundle)
    raw["template"] = rng.choice(TEMPLATES)
    _write(bundle, raw)
    return str(raw["template"])


def _sample_changed(bundle: Path, rng: random.Random) -> str:
    raw = _read(bundle)
    sample = rng.choice(raw["samples"])
    key = rng.choice(sorted(sample))
    if key == "fields":
        name = rng.choice(sorted(sample["fields"]))
        sample["fields"][name] = sample["fields"][name].upper() + " bird"
    elif key == "input_ids":
        sample["input_ids"][-1] += 1
    else:
        sample["logits"][0] = -3 * sample["logits"][0] + 2
    _write(bundle, raw)
    return key


def _manifest_bytes(bundle: Path, rng: random.Random) -> str:
    path = bundle / MANIFEST
    text = path.read_text(encoding="utf-8")
    cut = rng.randrange(len(text) - 1)
    flipped = bytearray(text.encode())
    flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    made = {
        "cut": text[:cut].encode(),
        "mark": b"\xef\xbb\xbf" + text.encode(),
        "utf-16": text.encode("utf-16"),
        "bit": bytes(flipped),
        "twin": text.replace("{", '{"max_length": 9, ', 1).encode(),
        "twin inside": text.replace('"parity": {', '"parity": {"examples": 1, ').encode(),
        "NaN": text.replace('"label_flips": ', '"other": NaN, "label_flips": ').encode(),
        "list": f"[{text}]".encode(),
        "long": text.encode() + b" " * (1 << 20),
        "nothing": b"",
    }
    name = rng.choice(sorted(made))
    path.write_bytes(made[name])
    return name


def _files_said(bundle: Path, rng: random.Random) -> str:
    raw = _read(bundle)
    name = rng.choice(sorted(raw["files"]))
    said = raw["files"][name]
    other = rng.choice(("../model.onnx", "model.onnx.data", MANIFEST, ".", "context.safetensors"))
    changes: dict[str, Callable[[], Any]] = {
        "size": lambda: said.update(size_bytes=said["size_bytes"] + rng.choice((-1, 1))),
        "hash": lambda: said.update(sha256="0" * 64),
        "capitals": lambda: said.update(sha256=said["sha256"].upper()),
        "short": lambda: said.update(sha256=said["sha256"][:-1]),
        "not listed": lambda: raw["files"].pop(name),
        f"also {other}": lambda: raw["files"].update({other: dict(said)}),
    }
    what = rng.choice(list(changes))
    changes[what]()
    _write(bundle, raw)
    return f"{name} {what}"


def _file_itself(bundle: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(bundle.iterdir()))
    what = rng.choice(("gone", "link", "folder", "empty", "longer", "bit", "another beside"))
    content = bytearray(path.read_bytes())
    if what == "another beside":
        (bundle / "notes.txt").write_text("x")
    elif what in ("empty", "longer", "bit"):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        made = {"empty": b"", "longer": path.read_bytes() + b"\n", "bit": bytes(content)}
        path.write_bytes(made[what])
    else:
        elsewhere = bundle.parent / "elsewhere"
        path.replace(elsewhere)
        if what == "link":
            path.symlink_to(elsewhere)
        elif what == "folder":
            path.mkdir()
    return f"{path.name} {what}"


def _tokenizer_changed(bundle: Path, rng: random.Random) -> str:
    path = bundle / TOKENIZER
    raw = json.loads(path.read_text(encoding="utf-8"))
    truncation = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    vocabulary = raw["model"]["vocab"]
    turned = dict(zip(vocabulary, reversed(vocabulary.values()), strict=True))
    changes: dict[str, Callable[[], Any]] = {
        "no model": lambda: raw.pop("model"),
        "no start": lambda: raw.update(post_processor=None),
        "truncation": lambda: raw.update(truncation=truncation),
        "other ids": lambda: raw["model"].update(vocab=turned),
        "other type": lambda: raw["model"].update(type="No"),
        "no splitting": lambda: raw.update(pre_tokenizer=None),
        "lower case": lambda: raw.update(normalizer={"type": "Lowercase"}),
        "no list": lambda: raw.update(added_tokens={"a": 1}),
        "dropout": lambda: raw["model"].update(dropout=0.5),
        "no such step": lambda: raw.update(normalizer={"type": "No"}),
        "a step within": lambda: raw.update(
            normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": 1}]}
        ),
        "marks": lambda: (
            raw["added_tokens"].append(
                {**raw["added_tokens"][0], "id": 9_999, "content": "<mark>", "special": False}
            )
            if raw["added_tokens"]
            else None
        ),
    }
    what = rng.choice(list(changes))
    changes[what]()
    path.write_text(json.dumps(raw), encoding="utf-8")
    _hash_again(bundle, TOKENIZER)
    return what


def _graph_changed(bundle: Path, rng: random.Random) -> str:
    model = onnx.load(bundle / MODEL)
    graph = model.graph
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    weights = max(floats, key=lambda one: len(one.raw_data))
    array = onnx.numpy_helper.to_array(weights)
    what = rng.choice(list(GRAPHS))
    GRAPHS[what](model, weights, array)
    onnx.save(model, bundle / MODEL)
    _hash_again(bundle, MODEL)
    return what


def _external(model: Any, weights: Any, array: Any) -> None:
    weights.ClearField("raw_data")
    weights.external_data.add(key="location", value=MANIFEST)
    weights.data_location = onnx.TensorProto.EXTERNAL


def _external_unsaid(model: Any, weights: Any, array: Any) -> None:
    weights.external_data.add(key="location", value=MANIFEST)


def _external_in_attribute(model: Any, weights: Any, array: Any) -> None:
    tensor = onnx.TensorProto(name="far", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value=MANIFEST)
    node = onnx.helper.make_node("Constant", [], ["far"])
    node.attribute.append(onnx.helper.make_attribute("value", tensor))
    model.graph.node.append(node)


def _renamed(kind: str, index: int) -> Callable[[Any, Any, Any], None]:
    def change(model: Any, weights: Any, array: Any) -> None:
        one = getattr(model.graph, kind)[index]
        for node in model.graph.node:
            names = node.input if kind == "input" else node.output
            for place, name in enumerate(names):
                if name == one.name:
                    names[place] = "another"
        one.name = "another"

    return change


def _replaced(value: Callable[[Any], Any]) -> Callable[[Any, Any, Any], None]:
    def change(model: Any, weights: Any, array: Any) -> None:
        weights.CopyFrom(onnx.numpy_helper.from_array(value(array), weights.name))

    return change


def _subgraph(name: str) -> onnx.GraphProto:
    one = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("Constant", [], [name], value_float=1.0)
    return onnx.helper.make_graph([node], name, [], [one])


def _branch(model: Any, weights: Any, array: Any) -> None:
    yes = onnx.helper.make_node("Constant", [], ["yes"])
    tensor = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    yes.attribute.append(onnx.helper.make_attribute("value", tensor))
    branches = {"then_branch": _subgraph("one"), "else_branch": _subgraph("two")}
    model.graph.node.extend([yes, onnx.helper.make_node("If", ["yes"], ["any"], **branches)])


def _function(model: Any, weights: Any, array: Any) -> None:
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    opsets = [onnx.helper.make_opsetid("", 17)]
    one = onnx.helper.make_function("com.microsoft", "Mine", ["x"], ["y"], [node], opsets)
    model.functions.append(one)


def _huge(model: Any, weights: Any, array: Any) -> None:
    model.graph.initializer.append(onnx.TensorProto(name="huge", data_type=1, dims=[1 << 40, 0x7F]))


def _training(model: Any, weights: Any, array: Any) -> None:
    model.training_info.add().algorithm.name = "more"


def _sparse(model: Any, weights: Any, array: Any) -> None:
    model.graph.sparse_initializer.add().dims.append(4)


def _operator(name: str) -> Callable[[Any, Any, Any], None]:
    def change(model: Any, weights: Any, array: Any) -> None:
        model.graph.node.append(onnx.helper.make_node(name, [weights.name], ["more"]))

    return change


def _another_output(model: Any, weights: Any, array: Any) -> None:
    model.graph.output.append(onnx.helper.make_tensor_value_info(weights.name, 1, array.shape))


def _another_input(model: Any, weights: Any, array: Any) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", 7, ["batch", "sequence"]))


GRAPHS: dict[str, Callable[[Any, Any, Any], None]] = {
    "weights elsewhere": _external,
    "weights elsewhere, unsaid": _external_unsaid,
    "an attribute elsewhere": _external_in_attribute,
    "an input renamed": _renamed("input", 0),
    "the output renamed": _renamed("output", 0),
    "one more output": _another_output,
    "one more input": _another_input,
    "weights of zero": _replaced(np.zeros_like),
    "weights of NaN": _replaced(lambda array: np.full_like(array, np.nan)),
    "weights of another shape": _replaced(lambda array: array[:-1]),
    "weights of another type": _replaced(lambda array: array.astype(np.float64)),
    "an operator that is not there": lambda model, *_: setattr(
        model.graph.node[0], "op_type", "No"
    ),
    "an operator of another domain": lambda model, *_: setattr(model.graph.node[0], "domain", "no"),
    "an opset of another domain": lambda model, *_: model.opset_import.add(domain="no", version=1),
    "a branch": _branch,
    "a function": _function,
    "training information": _training,
    "sparse weights": _sparse,
    "weights that say they are huge": _huge,
    "an operator in Python": _operator("PythonOp"),
    "an answer by chance": _operator("RandomNormalLike"),
    "an operator without a use": _operator("Identity"),
    "no nodes": lambda model, *_: model.graph.ClearField("node"),
}


def _graph_bytes(bundle: Path, rng: random.Random) -> str:
    path = bundle / MODEL
    content = bytearray(path.read_bytes())
    place = rng.choice((rng.randrange(len(content)), rng.randrange(400)))
    made = {
        "bit": lambda: content.__setitem__(place, content[place] ^ (1 << rng.randrange(8))),
        "cut": lambda: content.__delitem__(slice(place, None)),
        "byte gone": lambda: content.__delitem__(place),
        "text": lambda: content.__setitem__(slice(None), b"not a graph"),
    }
    made |= {
        # Keys of ModelProto, each before all others
        "long number": lambda: content.__setitem__(slice(0, 0), b"\x08\x89\x00"),
        "long key": lambda: content.__setitem__(slice(0, 0), b"\x88\x00\x09"),
        "key over 32 bits": lambda: content.__setitem__(slice(0, 0), b"\x88\x80\x80\x80\x10\x09"),
        "field 0": lambda: content.__setitem__(slice(0, 0), b"\x00\x09"),
        "an unknown field": lambda: content.__setitem__(slice(0, 0), b"\xf8\x3f\x09"),
        "a group": lambda: content.__setitem__(slice(0, 0), b"\xfb\x3f\xfc\x3f"),
    }
    what = rng.choice(list(made))
    made[what]()
    path.write_bytes(bytes(content) or b"\n")
    _hash_again(bundle, MODEL)
    return f"{what} at {place}"


def _card_changed(bundle: Path, rng: random.Random) -> str:
    (bundle / README).write_text("another", encoding="utf-8")
    again = rng.random() < 0.5
    if again:
        _hash_again(bundle, README)
    return f"hashed again: {again}"


DAMAGES: dict[str, Change] = {
    "a key is gone": _key_removed,
    "a value is another": _value_changed,
    "a key has another value": _key_changed,
    "the template is another": _template_changed,
    "a sample is another": _sample_changed,
    "the manifest's bytes": _manifest_bytes,
    "what files says": _files_said,
    "a file itself": _file_itself,
    "the tokenizer, hashed again": _tokenizer_changed,
    "the graph, hashed again": _graph_changed,
    "the graph's bytes, hashed again": _graph_bytes,
    "the card": _card_changed,
}
