"""Rows of other runtimes: a run's checkpoint converted, loaded, and asked as its bundle is.

Each runtime that is installed is tried; the development environment has PyTorch and onnxruntime.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

from edgecd.bench import peers  # noqa: E402
from edgecd.bench.exchange import Spec  # noqa: E402
from edgecd.bench.peers import llamacpp, registry  # noqa: E402
from edgecd.bench.peers.__main__ import main  # noqa: E402
from edgecd.bench.peers.checkpoint import load_classifier  # noqa: E402
from edgecd.bench.systems import bundle as bundle_system  # noqa: E402
from edgecd.bench.systems import peer  # noqa: E402
from edgecd.bench.systems.base import SkippedError, System  # noqa: E402
from edgecd.errors import InputError  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.record import to_json  # noqa: E402
from edgecd.runtime.predictor import Predictor  # noqa: E402
from tests import tiny  # noqa: E402

INPUTS = [dict(row["fields"]) for row in tiny.examples(12, seed=5)]
# To PyTorch's fp32 logits, over their standard deviation.
LARGEST_ERROR = {"torch-fp32": 1e-4, "ort-fp32": 1e-3, "torch-bf16": 0.1, "llama.cpp-q8_0": 0.1}
LARGEST_INT8_ERROR = 0.7  # random weights suffer from it; unrelated answers would be at 1.4


@dataclass(frozen=True)
class World:
    """A run's checkpoint, its bundle, what PyTorch answers, and where peers are prepared."""

    checkpoint: Path
    bundle: Path
    expected: np.ndarray
    work: Path

    def spec(self, name: str, **changes: Any) -> Spec:
        checkpoint, bundle = str(self.checkpoint), str(self.bundle)
        system = System(name, "peer", "peer", checkpoint, None, runtime=name, bundle=bundle)
        spec = Spec(
            system=system,
            template=tiny.TEMPLATE,
            verbalizer=tiny.LABELS,
            demonstrations=(),
            max_length=64,
            provider="cpu",
            threads=1,
            dtype="float32",
            queries=(),
            warmup=1,
            timed_calls=1,
            sets={},
            calibration=(),
            draws=(),
            draw_queries=(),
            draw_calibration=(),
            folder=str(self.folder(name)),
        )
        return replace(spec, **changes)

    def folder(self, name: str) -> Path:
        """The prepared folder, made on first use."""
        folder = self.work / name
        if not folder.exists():
            peer.prepare(name, self.checkpoint, folder, 1, self.work)
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    work = tmp_path_factory.mktemp("peers")
    run, bundle = tiny.tiny_run(work / "run"), work / "bundle"
    export_run(run, bundle)
    predictor = Predictor.load(bundle)
    model = load_classifier(run / "checkpoint")
    with torch.inference_mode():
        rows = [model(torch.tensor([one.ids])).logits for one in predictor.encode(INPUTS)]
    return World(run / "checkpoint", bundle, torch.cat(rows).numpy(), work)


@pytest.fixture(params=peers.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if missing := peers.missing_reason(request.param):
        pytest.skip(missing)
    return str(request.param)


def test_a_peer_answers_as_pytorch_does(world: World, name: str) -> None:
    loaded = peer.load(world.spec(name))
    found = loaded.answerer.logits(INPUTS)
    assert found.shape == (len(INPUTS), len(tiny.LABELS))
    assert np.isfinite(found).all()
    error = tiny.relative_error(found, world.expected)
    assert error < LARGEST_ERROR.get(name, LARGEST_INT8_ERROR)
    np.testing.assert_allclose(loaded.answerer.logits(INPUTS[3:4])[0], found[3], atol=1e-5)
    predictor = Predictor.load(world.bundle)
    counted = [len(one.ids) for one in predictor.encode(INPUTS)]
    assert [len(one.ids) for one in loaded.answerer.encode(INPUTS)] == counted
    assert loaded.answerer.labels == predictor.labels


def test_the_metadata_are_those_of_a_bundles_row(world: World, name: str) -> None:
    spec = world.spec(name)
    system = System("bundle", "bundle", "student", str(world.bundle), None)
    bundle = bundle_system.load(replace(spec, system=system)).metadata
    metadata = peer.load(spec).metadata
    assert metadata.parameters == bundle.parameters
    assert metadata.precision in name  # torch-fp32, openvino-int8, ...
    weights = sum(file.stat().st_size for file in world.checkpoint.glob("*.safetensors"))
    smallest = {"fp32": 1, "bf16": 0.5}.get(metadata.precision, 0.25) * weights
    tokenizer = world.bundle / "tokenizer.json"
    assert (
        metadata.disk_bytes is not None
        and metadata.disk_bytes >= smallest + tokenizer.stat().st_size
    )


@pytest.mark.parametrize("without_torch", ["ort-dynamic-int8", "openvino-int8", "ctranslate2-int8"])
def test_a_runtimes_process_has_no_pytorch(world: World, without_torch: str) -> None:
    if missing := peers.missing_reason(without_torch):
        pytest.skip(missing)
    code = (
        "import json, sys\nfrom edgecd.bench.exchange import Spec\n"
        "from edgecd.formats.record import from_json\nfrom edgecd.bench.systems import peer\n"
        "spec, fields = map(json.loads, sys.argv[1:])\n"
        "loaded = peer.load(from_json(Spec, spec, 'spec'))\n"
        "print(json.dumps(loaded.answerer.logits([fields])[0].tolist()))\n"
        "print([name for name in ('torch', 'transformers', 'onnx') if name in sys.modules])\n"
    )
    spec = json.dumps(to_json(world.spec(without_torch)))
    command = [sys.executable, "-c", code, spec, json.dumps(INPUTS[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores, modules = done.stdout.splitlines()[-2:]
    assert len(json.loads(scores)) == len(tiny.LABELS)
    assert modules == "[]"


def test_the_program_converts(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main("torch-fp32", str(world.checkpoint), str(out), "1") == 0
    loaded = peer.load(world.spec("torch-fp32", folder=str(out)))
    np.testing.assert_allclose(loaded.answerer.logits(INPUTS[:1]), world.expected[:1], atol=1e-4)


def test_what_cannot_be_converted_is_one_line_and_no_folder(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for arguments, words in (
        (("torch-fp23", str(world.checkpoint), str(out), "1"), "did you mean 'torch-fp32'?"),
        (("torch-fp32", str(tmp_path), str(out), "1"), "is not a run's checkpoint"),
        (("torch-fp32", str(world.checkpoint), str(world.bundle), "1"), "already exists"),
        (("torch-fp32", str(world.checkpoint), str(out), "two"), "usage"),
    ):
        assert main(*arguments) == 2
        said = capsys.readouterr().err
        assert words in said
        assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_leaves_a_reason_and_no_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("model.layers.7")

    monkeypatch.setattr("edgecd.bench.peers.pytorch.prepare", fail)
    with pytest.raises(InputError, match=r"torch-fp32 cannot convert .*model\.layers\.7"):
        peer.prepare("torch-fp32", world.checkpoint, tmp_path / "out", 1)
    assert list(tmp_path.iterdir()) == []


def test_conversions_of_a_checkpoint_share_their_trace(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = peer.load(world.spec("ort-dynamic-int8"))
    monkeypatch.setattr("edgecd.export.torch_graph.traced_graph", None)
    again = tmp_path / "again"
    peer.prepare("ort-dynamic-int8", world.checkpoint, again, 1, world.work)
    second = peer.load(world.spec("ort-dynamic-int8", folder=str(again)))
    one, other = (loaded.answerer.logits(INPUTS[:1]) for loaded in (first, second))
    assert one.tolist() == other.tolist()


def test_a_family_that_a_runtime_cannot_take_is_named(tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path / "run", "opt")
    with pytest.raises(InputError, match="not opt"):
        llamacpp.prepare(run / "checkpoint", tmp_path, "q8_0", tmp_path)


def test_what_does_not_fit_is_left_out_or_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match="--provider cpu"):
        peer.load(world.spec("torch-fp32", provider="cuda"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in world.folder("ort-dynamic-int8").iterdir():
        os.link(file, damaged / file.name)
    (damaged / "model.onnx").unlink()
    spec = world.spec("ort-dynamic-int8", folder=str(damaged))
    with pytest.raises(SkippedError, match="cannot load"):
        peer.load(spec)
    (damaged / "peer.json").unlink()
    (damaged / "peer.json").write_text('{"labels": ["yes", "no"]}')
    with pytest.raises(InputError, match="different labels"):
        peer.load(spec)


def test_a_new_peer_is_prepared_and_asked_through_the_table_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that answers with the number of tokens, as a module and a row of the table."""
    toy = types.ModuleType("edgecd.bench.peers.toy")
    toy.PACKAGE, toy.IMPORTS, toy.PROVIDER = "numpy", ("numpy",), "cpu"

    def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
        (folder / variant).write_text(checkpoint.name)

    def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Any:
        assert (folder / variant).read_text() == "checkpoint"
        return lambda one: np.full(len(tiny.LABELS), len(one.ids), np.float32)

    toy.prepare, toy.load = prepare, load
    monkeypatch.setitem(sys.modules, toy.__name__, toy)
    row = registry.Peer("toy-fp32", "toy", "files", "fp32", ("numpy",))
    monkeypatch.setattr(registry, "PEERS", (*registry.PEERS, row))
    peer.prepare("toy-fp32", world.checkpoint, tmp_path / "toy", 1)
    loaded = peer.load(world.spec("toy-fp32", folder=str(tmp_path / "toy")))
    counted = [len(one.ids) for one in loaded.answerer.encode(INPUTS)]
    assert loaded.answerer.logits(INPUTS)[:, 0].tolist() == counted
    assert "toy-fp32" in peers.installed()
