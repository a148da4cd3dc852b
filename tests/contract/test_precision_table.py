"""A precision is a row in two tables: what is asked of it, and how its graphs are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from edgecd.bench.systems.prompt_models import make_prompt_models
from edgecd.console import Reporter
from edgecd.errors import CheckFailed, InputError
from edgecd.export.activations import Feed
from edgecd.export.compressor import export_compressor
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.export.recipes import RECIPES, Candidate, Recipe
from edgecd.export.source import Source
from edgecd.files import read_json
from edgecd.formats.bundle import read_manifest
from edgecd.formats.precision import PRECISIONS, Precision, find_precision
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import verify
from tests import tiny

TOY = Precision(
    "toy", help="A copy.", max_flips_pct=0.0, tolerance=1e-3, reason="it is a copy", batch_rows=3
)
ROWS = [row["fields"] for row in tiny.examples(10, seed=3)]


def copies(
    source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
) -> Iterator[Candidate]:
    yield Candidate("copy", "full precision by another name", source.graph, source.pasts)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ExportConfig:
    """What asks for a precision that is registered in the tables alone."""
    monkeypatch.setitem(PRECISIONS, "toy", TOY)
    monkeypatch.setitem(RECIPES, "toy", Recipe(copies))
    return ExportConfig(precision="toy")


def test_every_precision_has_a_recipe() -> None:
    assert set(RECIPES) == set(PRECISIONS)
    for name, row in PRECISIONS.items():
        assert row.name == name
        assert (RECIPES[name].compressor is None) == (row.context_tolerance is None)


def test_a_new_precision_is_exported_gated_and_run(toy: ExportConfig, tmp_path: Path) -> None:
    run, bundle = tiny.tiny_run(tmp_path / "run", max_length=64), tmp_path / "bundle"
    done = export_run(run, bundle, toy)
    assert (done["precision"], done["treatment"]) == ("toy", "copy")
    assert done["parity"]["max_flips_pct"] == done["parity"]["label_flips"] == 0
    assert read_manifest(bundle).precision == "toy"
    assert verify(bundle)["tolerance_reason"] == "toy: it is a copy"
    export_run(run, tmp_path / "fp32")
    ours, theirs = (Predictor.load(folder, threads=1) for folder in (bundle, tmp_path / "fp32"))
    np.testing.assert_allclose(ours.logits(ROWS), theirs.logits(ROWS), atol=1e-5)


def test_a_new_precision_that_answers_otherwise_is_refused(
    toy: ExportConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(
        source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
    ) -> Iterator[Candidate]:
        for tensor in source.graph.graph.initializer:
            if tensor.name == "score.weight":
                tensor.raw_data = (-np.frombuffer(tensor.raw_data, np.float32)).tobytes()
        yield Candidate("wrong", "each label for the other", source.graph)

    monkeypatch.setitem(RECIPES, "toy", Recipe(wrong))
    with pytest.raises(CheckFailed, match="no toy export is close enough"):
        export_run(tiny.tiny_run(tmp_path / "run", max_length=64), tmp_path / "out", toy)


def test_a_prompt_is_made_in_a_new_precision_too(toy: ExportConfig, tmp_path: Path) -> None:
    tokenizer, rows = tiny.tiny_tokenizer(), tiny.examples(30)
    tiny.save_model(tiny.tiny_causal_lm("llama", len(tokenizer)), tokenizer, tmp_path / "model")
    spec = {
        "template": tiny.TEMPLATE,
        "verbalizer": tiny.LABELS,
        "max_length": 64,
        "model": str(tmp_path / "model"),
        "precision": toy.precision,
        "calibration": [row["fields"] for row in rows[4:]],
        "folder": str(tmp_path / "prompts"),
        "systems": {
            "cached": {
                "shots": [[row["fields"], row["label"]] for row in rows[:4]],
                "cached": True,
            }
        },
    }
    assert make_prompt_models(spec) == {"cached": None}
    found = read_json(tmp_path / "prompts" / "cached" / "prompt.json")
    assert (found["precision"], found["treatment"]) == ("toy", "copy")


def test_a_compressor_says_which_precisions_it_has(toy: ExportConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a compressor is fp32 or int8, not toy"):
        export_compressor(tmp_path, tmp_path / "out", toy)


def test_an_unknown_precision_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="'int3' does not exist: choose one of fp32, fp16, int8"):
        find_precision("int3")


@pytest.mark.parametrize(
    ("asked", "precision", "limit"),
    [
        (ExportConfig(), "fp32", 2.0),
        (ExportConfig(precision="int4"), "int4", 10.0),
        (ExportConfig(precision="int8", max_flips=5.0), "int8", 5.0),
        (ExportConfig(target="cuda"), "fp16", 2.0),
    ],
)
def test_a_request_comes_to_one_precision_and_one_limit(
    asked: ExportConfig, precision: str, limit: float
) -> None:
    assert (asked.goal.precision, asked.max_flips_pct) == (precision, limit)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "int8", "target": "web"}, "leave out --int8"),
        ({"max_flips": 101.0}, "--max-flips 101: must be from 0 to 100"),
        ({"task": "mnli", "trim_vocab": "texts"}, "a language model needs --task"),
        ({"context": "file", "exporter": "torch"}, "a language model needs --task"),
        ({"exporter": "optimum", "trim_vocab": "texts"}, "leave out --trim-vocab"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        ExportConfig(**options)  # type: ignore[arg-type]


def test_a_context_goes_into_a_language_model_which_has_a_task() -> None:
    assert ExportConfig(task="mnli", context="file").of_language_model
    assert not ExportConfig().of_language_model
    with pytest.raises(InputError, match="a language model needs --task"):
        ExportConfig(context="file").of_language_model  # noqa: B018
