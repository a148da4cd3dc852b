"""Prompts on onnxruntime: one rewriting of the weights serves every prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from edgecd.bench.exchange import Spec
from edgecd.bench.systems import onnx_prompt
from edgecd.bench.systems.base import System
from edgecd.bench.systems.prompt_models import make_prompt_models
from edgecd.tasks.metrics import log_softmax
from tests import tiny

NAMES = {"cached": (4, True), "naive": (4, False), "fewer-cached": (2, True)}


def scores(folder: Path, model: Path, precision: str) -> dict[str, np.ndarray]:
    """Log-probabilities [inputs, labels] of each prompt, all made in one go."""
    rows = tiny.examples(40)
    shots = [[row["fields"], row["label"]] for row in rows[:4]]
    common: dict[str, Any] = {
        "template": tiny.TEMPLATE,
        "verbalizer": tiny.LABELS,
        "max_length": 64,
        "provider": "cpu",
        "threads": 1,
    }
    spec = {
        **common,
        "model": str(model),
        "precision": precision,
        "calibration": [row["fields"] for row in rows[4:24]],
        "folder": str(folder),
        "systems": {
            name: {"shots": shots[:count], "cached": cached}
            for name, (count, cached) in NAMES.items()
        },
    }
    assert make_prompt_models(spec) == dict.fromkeys(NAMES)
    inputs = [row["fields"] for row in rows[24:]]
    return {
        name: log_softmax(onnx_prompt.load(asked(common, folder / name)).answerer.logits(inputs))
        for name in NAMES
    }


def asked(common: dict[str, Any], folder: Path) -> Spec:
    """What the process of one prompt is asked."""
    system = System(folder.name, "icl", "same-size-icl", "model", None)
    nothing = dict.fromkeys(
        ("demonstrations", "queries", "calibration", "draws", "draw_queries", "draw_calibration"),
        (),
    )
    values = {**common, **nothing, "sets": {}, "warmup": 1, "timed_calls": 1, "dtype": "float32"}
    return Spec(system=system, folder=str(folder), **values)


def test_every_prompt_answers_in_8_bits_as_in_full_precision(tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer()
    model = tmp_path / "model"
    tiny.save_model(tiny.tiny_causal_lm("llama", len(tokenizer)), tokenizer, model)
    exact = scores(tmp_path / "fp32", model, "fp32")
    small = scores(tmp_path / "int8", model, "int8")
    np.testing.assert_allclose(exact["naive"], exact["cached"], atol=1e-4)
    spread = float(exact["cached"].std())
    for name, other in (("cached", "fewer-cached"), ("fewer-cached", "cached"), ("naive", None)):
        error = float(np.sqrt(np.mean((small[name] - exact[name]) ** 2)))
        assert 0 < error < 0.25 * spread, (name, error, spread)
        if other:  # the prompts differ by more than their rounding does
            assert np.sqrt(np.mean((small[name] - exact[other]) ** 2)) > 2 * error
