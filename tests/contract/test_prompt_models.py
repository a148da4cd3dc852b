"""Prompts on onnxruntime: one rewriting of the weights serves every prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

import onnx

from edgecd.bench.exchange import Spec
from edgecd.bench.systems import onnx_prompt, prompt_models
from edgecd.bench.systems.base import System
from edgecd.bench.systems.prompt_models import make_prompt_models
from edgecd.export.recipes import Candidate
from edgecd.files import read_json
from edgecd.formats.precision import PRECISIONS
from edgecd.tasks.metrics import log_softmax
from tests import tiny

NAMES = {"cached": (4, True), "naive": (4, False), "fewer-cached": (2, True)}


COMMON: dict[str, Any] = {
    "template": tiny.TEMPLATE,
    "verbalizer": tiny.LABELS,
    "max_length": 64,
    "provider": "cpu",
    "threads": 1,
}
ROWS = tiny.examples(40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny.tiny_tokenizer()
    tiny.save_model(tiny.tiny_causal_lm("llama", len(tokenizer)), tokenizer, folder)
    return folder


def asked(folder: Path, model: Path, precision: str) -> dict[str, Any]:
    """The spec of all prompts."""
    shots = [[row["fields"], row["label"]] for row in ROWS[:4]]
    return {
        **COMMON,
        "model": str(model),
        "precision": precision,
        "calibration": [row["fields"] for row in ROWS[4:24]],
        "folder": str(folder),
        "systems": {
            name: {"shots": shots[:count], "cached": cached}
            for name, (count, cached) in NAMES.items()
        },
    }


def prompt_spec(folder: Path) -> Spec:
    """What the process of one prompt is asked."""
    system = System(folder.name, "icl", "same-size-icl", "model", None)
    nothing = dict.fromkeys(
        ("demonstrations", "queries", "calibration", "draws", "draw_queries", "draw_calibration"),
        (),
    )
    values = {**COMMON, **nothing, "sets": {}, "warmup": 1, "timed_calls": 1, "dtype": "float32"}
    return Spec(system=system, folder=str(folder), **values)


def scores(folder: Path, model: Path, precision: str) -> dict[str, np.ndarray]:
    """Log-probabilities [inputs, labels] of each prompt, all made in one go."""
    assert make_prompt_models(asked(folder, model, precision)) == dict.fromkeys(NAMES)
    inputs = [row["fields"] for row in ROWS[24:]]
    return {
        name: log_softmax(onnx_prompt.load(prompt_spec(folder / name)).answerer.logits(inputs))
        for name in NAMES
    }


def test_every_prompt_answers_in_8_bits_as_in_full_precision(tmp_path: Path, model: Path) -> None:
    exact = scores(tmp_path / "fp32", model, "fp32")
    small = scores(tmp_path / "int8", model, "int8")
    np.testing.assert_allclose(exact["naive"], exact["cached"], atol=1e-4)
    spread = float(exact["cached"].std())
    for name, other in (("cached", "fewer-cached"), ("fewer-cached", "cached"), ("naive", None)):
        error = float(np.sqrt(np.mean((small[name] - exact[name]) ** 2)))
        assert 0 < error < 0.25 * spread, (name, error, spread)
        if other:  # the prompts differ by more than their rounding does
            assert np.sqrt(np.mean((small[name] - exact[other]) ** 2)) > 2 * error
    for name in NAMES:
        for precision in ("fp32", "int8"):
            found = read_json(tmp_path / precision / name / "prompt.json")
            gate = found["parity"]
            assert gate["examples"] == 15  # of 20 inputs, 5 are what activations were measured on
            assert 100 * gate["label_flips"] <= gate["max_flips_pct"] * gate["examples"]
            assert gate["tried"][-1]["treatment"] == found["treatment"]
    kept = {
        name: read_json(tmp_path / "int8" / name / "prompt.json")["treatment"] for name in NAMES
    }
    assert kept["naive"] == kept["cached"]


def test_where_no_rounding_passes_the_nearest_stands_for_the_prompt(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt without a row would say less than one whose row shows its own accuracy."""
    monkeypatch.setitem(PRECISIONS, "int8", replace(PRECISIONS["int8"], max_flips_pct=-100.0))
    assert make_prompt_models(asked(tmp_path / "out", model, "int8")) == dict.fromkeys(NAMES)
    for name in NAMES:
        found = read_json(tmp_path / "out" / name / "prompt.json")
        flips = [one["label_flips"] for one in found["parity"]["tried"]]
        assert found["parity"]["label_flips"] == min(flips) == flips[-1]
        assert found["parity"]["flips_pct"] > found["parity"]["max_flips_pct"]


def test_a_prompt_whose_graph_is_wrong_in_full_precision_is_left_out(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRECISIONS, "fp32", replace(PRECISIONS["fp32"], max_flips_pct=-100.0))
    left_out = make_prompt_models(asked(tmp_path / "out", model, "fp32"))
    for name in NAMES:
        why = str(left_out[name])
        assert why.startswith("no fp32 graph of it answers enough like PyTorch: of 15 labels")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_prompt_goes_to_the_next_treatment_when_its_labels_flip(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = prompt_models._hold

    def hold(candidate: Candidate, *rest: Any) -> None:
        right(candidate, *rest)
        if candidate.treatment == "dynamic":
            for tensor in candidate.graph.graph.initializer:
                if tensor.name == "score.weight":
                    wrong = -onnx.numpy_helper.to_array(tensor)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(wrong, tensor.name))

    monkeypatch.setattr(prompt_models, "_hold", hold)
    monkeypatch.setattr(prompt_models, "GATE_QUERIES", 12)
    spec = asked(tmp_path / "out", model, "int8")
    spec["systems"] = {"cached": spec["systems"]["cached"]}
    assert make_prompt_models(spec) == {"cached": None}
    found = read_json(tmp_path / "out" / "cached" / "prompt.json")
    first, *others = found["parity"]["tried"]
    assert (first["treatment"], first["label_flips"]) == ("dynamic", 12)
    assert others[-1]["treatment"] == found["treatment"] != "dynamic"


def test_without_inputs_to_ask_only_what_is_rounded_is_left_out(
    tmp_path: Path, model: Path
) -> None:
    spec = {**asked(tmp_path / "int8", model, "int8"), "calibration": []}
    assert all(
        "needs inputs of the train split" in str(why) for why in make_prompt_models(spec).values()
    )
    spec = {**asked(tmp_path / "fp32", model, "fp32"), "calibration": []}
    assert make_prompt_models(spec) == dict.fromkeys(NAMES)
    assert read_json(tmp_path / "fp32" / "cached" / "prompt.json")["parity"] is None
