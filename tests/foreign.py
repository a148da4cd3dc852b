"""Bundles, contexts and tokenizers as a stranger would make them: small, and without PyTorch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from tokenizers import Tokenizer

from edgecd.files import sha256_file, write_json
from edgecd.formats.bundle import write_bundle
from edgecd.formats.manifest import (
    MANIFEST,
    FileRecord,
    Manifest,
    Sample,
    TensorSpec,
    manifest_json,
)
from edgecd.runtime.predictor import Predictor
from tests import tiny

LABELS = ("yes", "no")
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
_BOTH = ("batch", "sequence")


def tokenizer() -> Tokenizer:
    """A byte-level BPE of 300 tokens, `<pad>` the first."""
    return tiny.byte_level_bpe([tiny.sentence(n) for n in range(20)], 300, ["<pad>"])


def graph(ending: list[Any] | None = None, weights: Any = None) -> Any:
    """A classifier's graph: each token has two scores, of which the mean over the text is taken.

    `ending` are nodes from `mean` to `logits` (None: as it is).
    """
    table = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["scores"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["scores", "wide"], ["real"]),
        helper.make_node("ReduceSum", ["real", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["wide", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        *(ending or [helper.make_node("Identity", ["mean"], ["logits"])]),
    ]
    made = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(n, INT64, _BOTH) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", FLOAT, ("batch", 2))],
        [
            weights or onnx.numpy_helper.from_array(table, "table"),
            onnx.numpy_helper.from_array(np.array([2]), "last"),
            onnx.numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def manifest(**changes: Any) -> Manifest:
    """The manifest of `graph`, for a template with one field."""
    made = Manifest(
        task="foreign",
        labels=LABELS,
        verbalizer={"yes": " Yes", "no": " No"},
        template="Text: {text}\nAnswer:",
        max_length=64,
        pad_token_id=0,
        prefix_ids=(),
        precision="fp32",
        inputs={n: TensorSpec("int64", _BOTH) for n in ("input_ids", "attention_mask")},
        outputs={"logits": TensorSpec("float32", ("batch", 2))},
        parity={
            "examples": 4,
            "label_flips": 0,
            "max_abs_logit_diff": 0.0,
            "accuracy_checkpoint": None,
            "accuracy_bundle": None,
        },
        provenance={"teacher": "a-teacher", "student": "a-student"},
        samples=(Sample({"text": "the cat"}, (1, 2, 3), (0.5, -0.5)),),
    )
    return replace(made, **changes)


def bundle(folder: Path, model: Any = None, tokenizer_json: str = "", **changes: Any) -> Path:
    """A bundle of `graph`, `tokenizer` and `manifest`, or of others; returns its folder."""
    file = folder.parent / f"{folder.name}.onnx"
    file.write_bytes((model or graph()).SerializeToString())
    write_bundle(folder, manifest(**changes), file, tokenizer_json or tokenizer().to_str())
    file.unlink()
    if model is None and not tokenizer_json and "samples" not in changes:
        predictor = Predictor.load(folder, threads=1)
        fields = dict.fromkeys(predictor.template.fields, "the cat")
        (encoded,) = predictor.encode([fields])
        logits = predictor.run([encoded])[0]
        sample = Sample(fields, tuple(encoded.ids), tuple(logits.tolist()))
        right = replace(predictor.manifest, samples=(sample,))
        write_json(folder / MANIFEST, manifest_json(right))
    return folder


def replaced(folder: Path, name: str, content: bytes) -> Path:
    """The bundle with one file exchanged, as one who also writes the manifest can."""
    (folder / name).write_bytes(content)
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    record = FileRecord(sha256_file(folder / name), len(content))
    raw["files"][name] = {"sha256": record.sha256, "size_bytes": record.size_bytes}
    write_json(folder / MANIFEST, raw)
    return folder
