"""Hostile bundles: their manifests and graphs; what was taken is looked at by onnx itself."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgecd.errors import InputError
from edgecd.files import sha256_file
from edgecd.formats.manifest import MANIFEST, MODEL
from edgecd.runtime.inspect import describe, render
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import verify
from tests import foreign
from tests.hostile import graphs, values
from tests.hostile.values import TEXTS, WrongError


@functools.cache
def _bundle_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        made = foreign.bundle(Path(folder) / "bundle")
        return {path.name: path.read_bytes() for path in made.iterdir()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Files by name."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _listed(folder: Path, manifest: Any) -> Any:
    """The manifest with the hashes of what is there, as one who makes it would write them."""
    for name, record in manifest["files"].items():
        record["sha256"] = sha256_file(folder / name)
        record["size_bytes"] = (folder / name).stat().st_size
    return manifest


def make_manifest(random: Random, folder: Path) -> None:
    files = _bundle_files()
    write(folder, files)
    manifest = json.loads(files[MANIFEST])
    (folder / MANIFEST).write_bytes(
        values.json_bytes(random, values.changed(random, manifest))
        if random.random() < 0.9
        else values.bytes_of(random, files[MANIFEST])
    )


def make_graph(random: Random, folder: Path) -> None:
    """A graph that was changed, or one that is sound and asks for much."""
    files = _bundle_files()
    if random.random() < 0.15:
        model = _greedy(random).SerializeToString()
    else:
        model = graphs.changed(random, files[MODEL])
    write(folder, {**files, MODEL: model})
    np.ones(800, np.float32).tofile(folder / "weights.bin")
    if (folder / MODEL).stat().st_size:
        manifest = _listed(folder, json.loads(files[MANIFEST]))
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _greedy(random: Random) -> Any:
    """A classifier that makes something large of nothing, or what is no number, on its way."""
    size = random.choice((3, 1 << 20, 1 << 24, 1 << 44, 1 << 62))  # some MB, or more than any has
    count = np.array([size])
    make = helper.make_node
    grown = {
        "ConstantOfShape": [_constant("n", count), make("ConstantOfShape", ["n"], ["large"])],
        "Expand": [
            _constant("n", count),
            _constant("one", np.ones(1, np.float32)),
            make("Expand", ["one", "n"], ["large"]),
        ],
        "Tile": [
            _constant("n", count),
            _constant("one", np.ones(1, np.float32)),
            make("Tile", ["one", "n"], ["large"]),
        ],
        "Range": [
            _constant("begin", np.array(0.0, np.float32)),
            _constant("n", np.array(float(size), np.float32)),
            _constant("one", np.array(1.0, np.float32)),
            make("Range", ["begin", "n", "one"], ["large"]),
        ],
        "RandomNormal": [make("RandomNormal", [], ["large"], shape=[size])],
        "Pad": [
            _constant("n", np.array([size, 0])),
            _constant("one", np.ones(1, np.float32)),
            make("Pad", ["one", "n"], ["large"]),
        ],
        "Reciprocal": [
            _constant("one", np.zeros(1, np.float32)),
            make("Reciprocal", ["one"], ["large"]),
        ],
    }
    ending = [
        *grown[random.choice(list(grown))],
        _constant("zero", np.array([0])),
        make("ReduceSum", ["large", "zero"], ["little"], keepdims=1),
        make("Add", ["mean", "little"], ["logits"]),
    ]
    return foreign.graph(ending)


def _constant(name: str, array: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))


def read_bundle(folder: Path) -> None:
    predictor = Predictor.load(folder, threads=1)
    check_graph((folder / MODEL).read_bytes())
    for text in TEXTS:
        fields = dict.fromkeys(predictor.template.fields, text)
        with contextlib.suppress(InputError):  # a text that is empty, or an answer that is none
            for one in predictor.predict_batch([fields, fields]):
                if not all(math.isfinite(share) for share in one.probabilities.values()):
                    raise WrongError("a label from what is no number")
    render(describe(folder))
    verify(folder)


def check_graph(content: bytes) -> None:
    """What a reader of onnx's own says of a graph that was taken."""
    model = onnx.load_from_string(content)
    if model.functions or model.training_info:
        raise WrongError("a graph with functions was taken")
    for node in model.graph.node:
        inner = any(one.HasField("g") for one in node.attribute)
        if inner or node.op_type in ("Loop", "Scan", "If"):
            raise WrongError("a graph with control flow was taken")
    tensors = onnx.external_data_helper._get_all_tensors(model)
    if any(map(onnx.external_data_helper.uses_external_data, tensors)):
        raise WrongError("a graph that reads another file was taken")
