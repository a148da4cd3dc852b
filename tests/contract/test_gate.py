"""The gate of an export: what it counts, what it lets through, and what it says when it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import CheckFailed
from edgecd.export import graph as graphs
from edgecd.export import parity
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.export.recipes import RECIPES
from edgecd.export.stack import Linear, Stack
from edgecd.formats.precision import PRECISIONS
from edgecd.tasks.answerer import Fields
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.prompts import PromptTemplate
from tests import tiny

MAX_LENGTH = 48
TEMPLATE = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
CHUNK = parity.CHUNK_EXAMPLES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_run(tmp_path_factory.mktemp("gate") / "run", max_length=MAX_LENGTH)


# --- counting -------------------------------------------------------------------------------


def test_calibration_and_gate_share_no_example(run: Path) -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    heldout = parity.read_heldout(run, tokenizer, TEMPLATE, MAX_LENGTH)
    calibration, gate = parity.split(heldout)
    assert len(calibration) + len(gate.fields) == 64
    assert not {id(one) for one in calibration} & {id(one) for one in gate.fields}
    assert len(gate.gold) == len(gate.fields)


def test_flips_accuracies_and_nan_are_counted() -> None:
    reference = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    logits = np.array([[2, 0], [1, 0], [1, 0], [0, np.nan]], np.float32)
    figures = parity.compare(logits, reference, np.array([0, 1, -1, -1]))
    assert (figures.examples, figures.label_flips, figures.flips_pct) == (4, 2, 50)
    assert (figures.accuracy_checkpoint, figures.accuracy_bundle) == (1.0, 0.5)
    assert figures.max_abs_logit_diff > 1e9
    none = parity.compare(reference, reference, np.full(4, -1))
    assert none.accuracy_bundle is None
    assert parity.passes(none, PRECISIONS["fp32"], 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_that_are_no_numbers_never_pass(precision: str, bad: float) -> None:
    reference = np.tile(np.array([[1, 0]], np.float32), (200, 1))
    logits = reference.copy()
    logits[77, 1] = bad  # one of 200: fewer than any limit
    for limit in (2.0, 100.0):
        figures = judged(logits, reference, limit)
        assert figures.label_flips == 1
        assert not parity.passes(figures, PRECISIONS[precision], limit)


class Scripted:
    """Answers the example numbered `n` with the n-th of some logits."""

    labels = ("yes", "no")

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.asked: list[int] = []

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        return [Encoded([int(one["n"])], False) for one in inputs]

    def logits(self, inputs: Sequence[Fields]) -> np.ndarray:
        places = [one.ids[0] for one in self.encode(inputs)]
        self.asked.extend(places)
        return self.scores[places]


def judged(logits: np.ndarray, reference: np.ndarray, limit: float) -> parity.Parity:
    """The verdict on a graph that gives these logits; each example is asked for once, in order."""
    graph = Scripted(logits)
    gold = np.zeros(len(logits), np.int64)
    gate = parity.HeldOut([{"n": str(n)} for n in range(len(logits))], gold)
    figures = parity.judge(graph.logits, gate, reference, limit)
    assert graph.asked == list(range(figures.examples))
    return figures


@settings(max_examples=100, deadline=None)
@given(
    flips=st.lists(st.sampled_from([False] * 9 + [True]), min_size=1, max_size=5 * CHUNK),
    limit=st.sampled_from([0.0, 1.0, 2.0, 10.0, 50.0, 100.0]),
)
def test_stopping_early_changes_no_verdict(flips: list[bool], limit: float) -> None:
    reference = np.tile(np.array([[1, 0]], np.float32), (len(flips), 1))
    logits = np.where(np.array(flips)[:, None], reference[:, ::-1], reference)
    whole = parity.compare(logits, reference, np.zeros(len(flips), np.int64))
    early = judged(logits, reference, limit)
    int8 = PRECISIONS["int8"]
    assert parity.passes(early, int8, limit) == parity.passes(whole, int8, limit)
    assert early.label_flips == sum(flips[: early.examples])
    assert early.accuracy_bundle == pytest.approx(1 - early.label_flips / early.examples)
    if early.examples < len(flips):
        assert early.examples % CHUNK == 0
        assert 100 * early.label_flips > limit * len(flips), "left although it could still pass"
        before = sum(flips[: early.examples - CHUNK])
        assert 100 * before <= limit * len(flips), "went on although it was hopeless"


def test_a_hopeless_graph_is_left_after_its_first_chunk() -> None:
    reference = np.tile(np.array([[1, 0]], np.float32), (10 * CHUNK, 1))
    figures = judged(reference[:, ::-1], reference, limit=2.0)
    assert (figures.examples, figures.label_flips) == (CHUNK, CHUNK)


# --- refusing -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brittle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose labels hang on a direction that rounding destroys: exact in fp32 only."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "checkpoint")
    tokenizer = tiny.started(tiny.tiny_tokenizer())
    states = []
    for row in tiny.examples(60, seed=7):
        ids = encode_prompt(tokenizer.backend_tokenizer, TEMPLATE, row["fields"], MAX_LENGTH).ids
        with torch.inference_mode():
            states.append(model.model(torch.tensor([ids])).last_hidden_state[0, -1])
    # The direction in which the 60 final states differ least.
    direction = torch.linalg.svd(torch.stack(states), full_matrices=False).Vh[-1]
    with torch.no_grad():
        model.score.weight.copy_(torch.stack([direction, -direction]))
    folder = tmp_path_factory.mktemp("brittle") / "run"
    return tiny.tiny_run(folder, heldout=60, max_length=MAX_LENGTH, model=model)


@pytest.mark.parametrize(
    ("precision", "treatments"),
    [
        ("int8", ("dynamic", "mixed-few", "mixed-half", "precise", "weights")),
        ("int4", ("int4",)),
    ],
)
def test_a_model_made_to_fail_is_refused_with_all_that_was_tried(
    brittle: Path, tmp_path: Path, precision: str, treatments: tuple[str, ...]
) -> None:
    with pytest.raises(CheckFailed, match="--max-flips") as refused:
        export_run(brittle, tmp_path / "out", ExportConfig(precision=precision, max_flips=2.0))
    heading, *rows = str(refused.value).splitlines()[1:-1]
    for column in ("treatment", "flips %", "accuracy", "max logit diff", "bytes"):
        assert column in heading
    assert tuple(row.split()[0] for row in rows) == treatments
    assert all(float(row.split()[1]) > 2 for row in rows)
    assert list(tmp_path.iterdir()) == [], "something was left behind"


def test_the_same_model_passes_in_full_precision(brittle: Path, tmp_path: Path) -> None:
    done = export_run(brittle, tmp_path / "out", ExportConfig(precision="fp32", max_flips=0.0))
    assert done["parity"]["label_flips"] == 0
    assert done["parity"]["examples"] == 45


def test_each_precision_has_its_usual_limit(run: Path, tmp_path: Path) -> None:
    done = export_run(run, tmp_path / "out")
    assert done["parity"]["max_flips_pct"] == PRECISIONS["fp32"].max_flips_pct == 2.0
    assert set(RECIPES) == set(PRECISIONS)


@pytest.mark.parametrize(
    ("precision", "wrong"),  # half precision is no more exact than 0.01
    [("fp32", 0.01), ("int8", 0.01), ("int4", 0.01), *((name, np.nan) for name in PRECISIONS)],
)
def test_a_wrong_graph_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, wrong: float
) -> None:
    right = graphs.write_graph

    def written(stack: Stack, is_open: bool = False) -> Any:
        weight = stack.head.weight.copy()
        weight[:, 0] += np.float32(wrong)
        return right(replace(stack, head=Linear(weight)), is_open)

    monkeypatch.setattr(graphs, "write_graph", written)
    with pytest.raises(CheckFailed):
        export_run(run, tmp_path / "out", ExportConfig(precision=precision, max_flips=100.0))
    assert not (tmp_path / "out").exists()
