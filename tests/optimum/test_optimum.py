"""Hugging Face Optimum and edgecd understand each other.

Optimum needs transformers 4.57, so these run in an environment of their own, which `.ci/run` makes;
elsewhere they skip.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "optimum.onnxruntime", reason="needs an environment with edgecd[cpu,export,optimum]"
)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "peers"))

from optimum_check import checkpoint_logits, optimum_logits

from edgecd import Predictor
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.formats.bundle import read_manifest
from edgecd.host.machine import instruction_sets, int8_saturates
from tests.tiny import examples, tiny_run, tiny_tokenizer

FROM_TRANSFORMERS_5 = os.environ.get("EDGECD_RUN_FROM_TRANSFORMERS_5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    return tiny_run(folder, "llama", tokenizer=tiny_tokenizer(bos=True))


def inputs() -> list[dict[str, str]]:
    return [dict(row["fields"]) for row in examples(24, seed=3)]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundles_graph_runs_in_optimum(run: Path, tmp_path: Path, precision: str) -> None:
    if precision == "int8" and int8_saturates(instruction_sets()):
        pytest.skip("8-bit products saturate here: edgecd takes exact ones, Optimum does not")
    bundle = tmp_path / "bundle"
    export_run(run, bundle, ExportConfig(precision=precision, max_flips=100))
    predictor = Predictor.load(bundle)
    assert predictor.manifest.prefix_ids, "the prefix must not get in Optimum's way"
    encoded = predictor.encode(inputs())
    theirs = optimum_logits(run / "checkpoint", bundle, [x.ids for x in encoded])
    np.testing.assert_allclose(theirs, predictor.run(encoded), atol=1e-5)
    if precision == "fp32":
        expected = checkpoint_logits(run / "checkpoint", [x.ids for x in encoded])
        np.testing.assert_allclose(theirs, expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_optimum_as_the_exporter(run: Path, tmp_path: Path, precision: str) -> None:
    bundle = tmp_path / "bundle"
    done = export_run(
        run, bundle, ExportConfig(precision=precision, max_flips=100, exporter="optimum")
    )
    assert done["exporter"] == "optimum"
    assert read_manifest(bundle).provenance["export"]["exporter"] == "optimum"
    predictor = Predictor.load(bundle)
    encoded = predictor.encode(inputs())
    expected = checkpoint_logits(run / "checkpoint", [one.ids for one in encoded])
    error = np.abs(predictor.run(encoded) - expected).max() / expected.std()
    assert error < (1e-3 if precision == "fp32" else 1)


@pytest.mark.skipif(not FROM_TRANSFORMERS_5, reason="no run made with transformers 5 is given")
def test_a_checkpoint_of_transformers_5_is_the_same_model_here(tmp_path: Path) -> None:
    run = Path(str(FROM_TRANSFORMERS_5))
    predictor = Predictor.load(run / "bundle")
    encoded = predictor.encode(inputs())
    prompts = [one.ids for one in encoded]
    np.testing.assert_allclose(
        checkpoint_logits(run / "checkpoint", prompts), predictor.run(encoded), atol=1e-4
    )
    theirs = optimum_logits(run / "checkpoint", run / "bundle", prompts)
    np.testing.assert_allclose(theirs, predictor.run(encoded), atol=1e-5)
