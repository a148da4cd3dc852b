"""Hostile contexts and compressors, whose hashes are right whatever else is wrong."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import helper
from safetensors.numpy import load, save

from edgecd.formats.compressor import FACTS
from edgecd.formats.context import (
    METADATA,
    Context,
    ContextFacts,
    describe_context,
    read_context,
    write_context,
)
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.runtime.compressor import Compressor
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.prompts import PromptTemplate
from tests import foreign
from tests.hostile import graphs, values
from tests.hostile.bundles import check_graph, write
from tests.hostile.values import WrongError


@functools.cache
def _context_parts() -> tuple[Any, dict[str, Any]]:
    """The facts and the tensors of a context file."""
    facts = ContextFacts(
        method="mend",
        model="a-model",
        fingerprint="0" * 64,
        task="foreign",
        labels=foreign.LABELS,
        verbalizer={"yes": " Yes", "no": " No"},
        template="Text: {text}\nAnswer:",
        max_length=64,
        shots=2,
        context_tokens=9,
        calibration=(-0.5, -0.7),
    )
    draw = np.random.default_rng(0).normal
    past, head = draw(size=(2, 2, 2, 3, 4)), draw(size=(2, 8))
    context = Context(facts, past.astype(np.float32), head.astype(np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "context.safetensors"
        write_context(path, context)
        content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA])
    return said, load(content)


def make_context(random: Random, folder: Path) -> None:
    """A context whose hash is right, whatever else of it is wrong."""
    said, tensors = _context_parts()
    facts = {key: one for key, one in said.items() if key != "sha256"}
    tensors = dict(tensors)
    if random.random() < 0.6:
        facts = values.changed(random, facts)
    if random.random() < 0.6:
        name = random.choice(list(tensors))
        tensors[name] = _other_array(random, tensors[name])
    if random.random() < 0.1:
        tensors[random.choice(("x", "keys", "\x1b[31m"))] = np.zeros((2, 2), np.float32)
    content = _safetensors(random, facts, tensors)
    path = folder / "context.safetensors"
    path.write_bytes(values.bytes_of(random, content) if random.random() < 0.2 else content)


def _other_array(random: Random, array: Any) -> Any:
    kind = random.randrange(6)
    if kind == 0:
        return array.astype(random.choice((np.float64, np.int64, np.uint8, np.float16)))
    if kind == 1:
        return array.reshape(-1)
    if kind == 2:
        return array[..., :0]
    if kind == 3 and array.dtype.kind == "f":
        return np.full_like(array, random.choice((np.nan, np.inf, 3e38)))
    return np.concatenate([array, array]) if kind == 4 else array[:1]


def _safetensors(random: Random, facts: Any, tensors: dict[str, Any]) -> bytes:
    try:
        canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        canonical = ""
    digest = hashlib.sha256(canonical.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {array.dtype.name}{list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    whole = {**facts, "sha256": digest.hexdigest()} if isinstance(facts, dict) else facts
    said = values.json_bytes(random, whole).decode("utf-8", "replace")
    content = save(
        {name: np.ascontiguousarray(one) for name, one in tensors.items()}, {METADATA: said}
    )
    if random.random() < 0.15:  # a header that claims other sizes
        size = random.choice((0, 1, 2**31, 2**62, len(content)))
        content = size.to_bytes(8, "little") + content[8:]
    return content


def read_hostile_context(folder: Path) -> None:
    path = folder / "context.safetensors"
    context = read_context(path)
    if not (np.isfinite(context.past).all() and np.isfinite(context.head).all()):
        raise WrongError("a context with what is no number was taken")
    json.dumps(describe_context(path))


@functools.cache
def _compressor_files() -> dict[str, bytes]:
    from_array = onnx.numpy_helper.from_array
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["numbers"], to=foreign.FLOAT),
            helper.make_node("ReduceMean", ["numbers"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "one"], ["past"]),
            helper.make_node("Gather", ["table", "label_ids"], ["head"]),
        ],
        "compressor",
        [
            value("input_ids", foreign.INT64, [1, "sequence"]),
            value("label_ids", foreign.INT64, ["n"]),
        ],
        [value("past", foreign.FLOAT, [2, 2, 2, 3, 4]), value("head", foreign.FLOAT, ["n", 8])],
        [
            from_array(np.full((2, 2, 2, 3, 4), 0.01, np.float32), "one"),
            from_array(np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32), "table"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    facts = {
        "format": 1,
        "method": "mend",
        "model": "a-model",
        "fingerprint": "0" * 64,
        "positions": 3,
        "max_context": 64,
        "precision": "fp32",
        "files": {},
    }
    return {
        MODEL: model.SerializeToString(),
        TOKENIZER: foreign.tokenizer().to_str().encode(),
        FACTS: json.dumps(facts).encode(),
    }


def make_compressor(random: Random, folder: Path) -> None:
    files = dict(_compressor_files())
    facts = json.loads(files[FACTS])
    if random.random() < 0.5:
        files[MODEL] = graphs.changed(random, files[MODEL])
    write(folder, files)
    for name in (MODEL, TOKENIZER):
        facts["files"][name] = hashlib.sha256(files[name]).hexdigest()
    if random.random() < 0.6:
        facts = values.changed(random, facts)
    (folder / FACTS).write_bytes(values.json_bytes(random, facts))


def read_compressor(folder: Path) -> None:
    template = PromptTemplate("{text}\nAnswer:", {"yes": "x", "no": "y"})
    shown = Demonstrations.of([({"text": "the cat"}, "yes"), ({"text": "a dog"}, "no")])
    made = Compressor.load(folder, threads=1).compress(template, shown)
    check_graph((folder / MODEL).read_bytes())
    if not (np.isfinite(made.past).all() and np.isfinite(made.head).all()):
        raise WrongError("a context with what is no number was made")
