"""A context file: what a frozen language model takes in place of demonstrations.

For each layer the keys and values of a few positions, and the output head's rows of the label
words, so that a bundle of the language model answers for any task with no other file. One
safetensors file: tensors in 8 or 16 bits, and in its metadata what they are, with a hash over both.
A file is read strictly, because it comes from anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import CheckFailed, InputError, require
from edgecd.files import write_bytes
from edgecd.formats import strict
from edgecd.tasks.prompts import PromptTemplate

FORMAT = 1
METADATA = "edgecd"
CONTEXT_PRECISIONS = ("int8", "fp16")
CONTEXT_METHODS = ("none", "mend", "hypertuning", "gist", "prompt-tuning", "matching")

# Far above any real file.
MAX_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 20

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ContextFacts:
    """What a context is.

    `method` made it: `none` keeps the demonstrations as they are, `matching` some of their
    positions. `model` and `fingerprint` name the language model whose keys and values it holds.
    `shots` demonstrations of `context_tokens` tokens went in. `calibration` holds each label's mean
    log-probability over inputs whose labels nobody saw, to be taken off; empty where it was not
    calibrated. Queries continue the context as they would continue demonstrations, in at most
    `max_length` tokens.
    """

    method: str
    model: str
    fingerprint: str
    task: str
    labels: tuple[str, ...]
    verbalizer: Mapping[str, str]
    template: str
    max_length: int
    shots: int
    context_tokens: int
    calibration: tuple[float, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> PromptTemplate:
        """The template with its verbalizer; InputError when either is wrong."""
        return PromptTemplate(self.template, self.verbalizer)


@dataclass(frozen=True)
class Context:
    """Facts, and the arrays in float32.

    `past` [layers, 2, kv_heads, positions, head_size]: keys (after rotation), then values; `head`
    [labels, width].
    """

    facts: ContextFacts
    past: Array
    head: Array

    @property
    def positions(self) -> int:
        """How many positions a query finds in front of it."""
        return int(self.past.shape[3])


def write_context(path: Path, context: Context, precision: str = "int8") -> None:
    """Write a context atomically, its keys and values in `precision`.

    In 8 bits keys share a scale by channel, as a few channels are large at every position, and
    values by position (KIVI, https://arxiv.org/abs/2402.02750).
    """
    if precision not in CONTEXT_PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(CONTEXT_PRECISIONS)}")
    save = require("safetensors.numpy", "cpu").save
    tensors = _packed(context, precision)
    facts = _facts_json(context.facts)
    facts["sha256"] = _digest(facts, tensors)
    write_bytes(path, save(tensors, metadata={METADATA: json.dumps(facts, ensure_ascii=False)}))


def read_context(path: Path) -> Context:
    """Read a context file; InputError for what is none, CheckFailed for one that was changed."""
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path}: no such context file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is over {MAX_BYTES} bytes: not a context")
    load = require("safetensors.numpy", "cpu").load
    content = path.read_bytes()
    try:
        raw = _metadata(content)
        tensors: dict[str, NDArray[Any]] = load(content)
    except InputError as bad:
        raise InputError(f"{path}: {bad}") from None
    except Exception as bad:  # safetensors' own errors share no base class with Python's
        raise InputError(f"{path} is not a safetensors file ({bad})") from None
    try:
        expected = strict.text(raw.pop("sha256", None), "sha256", 64)
        if _digest(raw, tensors) != expected:
            raise CheckFailed(
                f"{path} has been changed or damaged: its SHA-256 is not the one inside; "
                "compress the demonstrations again"
            )
        return checked(Context(_parse_facts(raw), *_unpacked(tensors)))
    except InputError as bad:
        raise InputError(f"{path}: {bad}") from None


def describe_context(path: Path) -> dict[str, Any]:
    """The facts of a context file as one JSON object; errors as from `read_context`."""
    context = read_context(path)
    return {
        "context": str(path),
        **_facts_json(context.facts),
        "positions": context.positions,
        "layers": int(context.past.shape[0]),
        "size_bytes": path.stat().st_size,
    }


def refuse_other_model(facts: ContextFacts, fingerprint: str, name: str) -> None:
    """Raise InputError unless the context was made for the model of that fingerprint."""
    if facts.fingerprint != fingerprint:
        raise InputError(
            f"this context was made for {facts.model} (weights {facts.fingerprint[:12]}), not for "
            f"{name} (weights {fingerprint[:12]}): compress the demonstrations for this model"
        )


def _packed(context: Context, precision: str) -> dict[str, NDArray[Any]]:
    keys, values = context.past[:, 0], context.past[:, 1]
    head = {"head": np.ascontiguousarray(context.head, np.float32)}
    if precision == "fp16":
        largest = np.finfo(np.float16).max
        halves = {
            name: np.clip(array, -largest, largest).astype(np.float16)
            for name, array in (("keys", keys), ("values", values))
        }
        return {**head, **halves}
    packed: dict[str, NDArray[Any]] = dict(head)
    for name, array, shared in (("keys", keys, 2), ("values", values, 3)):
        scale = np.abs(array).max(axis=shared, keepdims=True, initial=0) / 127
        scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
        packed[name] = np.rint(array / scale).astype(np.int8)
        packed[f"{name}_scale"] = scale
    return packed


def _unpacked(tensors: Mapping[str, NDArray[Any]]) -> tuple[Array, Array]:
    """(past, head) of a file's tensors, whose kinds and shapes are checked."""
    known = {"head", "keys", "values", "keys_scale", "values_scale"}
    if unknown := set(tensors) - known:
        raise InputError(f"unknown tensor {sorted(unknown)[0][:64]!r}")
    for name, kinds, dimensions in (
        ("head", ("float32",), 2),
        ("keys", ("int8", "float16"), 4),
        ("values", ("int8", "float16"), 4),
    ):
        if name not in tensors:
            raise InputError(f"the tensor {name!r} is missing")
        if tensors[name].dtype.name not in kinds or tensors[name].ndim != dimensions:
            raise InputError(f"the tensor {name!r} is {_kind(tensors[name])}")
    keys, values = (_widened(name, tensors) for name in ("keys", "values"))
    if keys.shape != values.shape or 0 in keys.shape:
        raise InputError(f"keys {keys.shape} and values {values.shape} do not belong together")
    return np.stack([keys, values], axis=1), tensors["head"]


def _widened(name: str, tensors: Mapping[str, NDArray[Any]]) -> Array:
    stored, scale = tensors[name], tensors.get(f"{name}_scale")
    if stored.dtype == np.float16:
        return stored.astype(np.float32)
    axis = 2 if name == "keys" else 3
    expected = tuple(1 if place == axis else size for place, size in enumerate(stored.shape))
    if scale is None or scale.dtype != np.float32 or scale.shape != expected:
        raise InputError(f"the tensor '{name}_scale' does not belong to {_kind(stored)} {name}")
    wide: Array = stored.astype(np.float32) * scale
    return wide


def checked(context: Context) -> Context:
    """The context; InputError for arrays of other sizes than it says, or with no numbers."""
    if context.past.ndim != 5 or context.past.shape[1] != 2 or context.head.ndim != 2:
        raise InputError(f"its arrays are {context.past.shape} and {context.head.shape}")
    if context.head.shape[0] != len(context.facts.labels):
        raise InputError(f"{context.head.shape[0]} rows for {len(context.facts.labels)} labels")
    if not (np.isfinite(context.past).all() and np.isfinite(context.head).all()):
        raise InputError("a tensor has values that are no finite numbers")
    return context


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def _facts_json(facts: ContextFacts) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "method": facts.method,
        "language_model": {"name": facts.model, "fingerprint": facts.fingerprint},
        "task": facts.task,
        "labels": list(facts.labels),
        "verbalizer": dict(facts.verbalizer),
        "template": facts.template,
        "max_length": facts.max_length,
        "shots": facts.shots,
        "context_tokens": facts.context_tokens,
        "calibration": list(facts.calibration),
        "provenance": dict(facts.provenance),
    }


def _parse_facts(raw: Mapping[str, Any]) -> ContextFacts:
    version = strict.whole(strict.get(raw, "format"), "format", 0, 1 << 31)
    if version != FORMAT:
        raise InputError(
            f"context format {version} is not known here (this version reads {FORMAT}): "
            "update edgecd, or compress the demonstrations again"
        )
    method = strict.text(strict.get(raw, "method"), "method", 64)
    if method not in CONTEXT_METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(CONTEXT_METHODS)}")
    model = strict.mapping(strict.get(raw, "language_model"), "language_model")
    labels, verbalizer = strict.labels(raw)
    calibration = tuple(
        strict.number(value, "calibration")
        for value in strict.items(strict.get(raw, "calibration"), "calibration", len(labels))
    )
    if calibration and len(calibration) != len(labels):
        raise InputError(f"calibration has {len(calibration)} values for {len(labels)} labels")
    counts = {
        name: strict.whole(strict.get(raw, name), name, low, strict.MAX_TOKENS)
        for name, low in (("max_length", 1), ("shots", 0), ("context_tokens", 0))
    }
    facts = ContextFacts(
        method=method,
        model=strict.text(strict.get(model, "name"), "language_model.name", 512),
        fingerprint=strict.text(strict.get(model, "fingerprint"), "fingerprint", 64),
        task=strict.text(strict.get(raw, "task"), "task", 256),
        labels=labels,
        verbalizer=verbalizer,
        template=strict.text(strict.get(raw, "template"), "template", strict.MAX_TEXT),
        calibration=calibration,
        provenance=strict.shallow(strict.get(raw, "provenance"), "provenance"),
        **counts,
    )
    facts.prompt  # noqa: B018 (the template parses, the words are distinct)
    return facts


def _metadata(content: bytes) -> dict[str, Any]:
    """The facts in a safetensors header: 8 bytes of length, then JSON."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER_BYTES, len(content) - 8):
        raise InputError("not a safetensors file")
    try:
        header = json.loads(content[8 : 8 + size].decode())
        stored = strict.mapping(strict.mapping(header, "header").get("__metadata__"), "metadata")
        return strict.mapping(json.loads(strict.get(stored, METADATA)), "facts")
    except (ValueError, TypeError, RecursionError) as bad:
        raise InputError(f"its facts are not JSON ({bad})") from None


def _digest(facts: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {_kind(array)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def with_calibration(context: Context, means: NDArray[np.floating[Any]]) -> Context:
    """The same context, with each label's mean log-probability to be taken off."""
    values = tuple(float(value) for value in means)
    return replace(context, facts=replace(context.facts, calibration=values))
