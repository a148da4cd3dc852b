"""A bundle of a stranger's: whatever it holds, there is an answer, or one line that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgecd import Predictor
from edgecd.errors import CheckFailed, InputError
from edgecd.runtime.verify import verify
from tests import foreign


def constant(name: str, values: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(values))


def test_a_sound_one_answers(tmp_path: Path) -> None:
    predictor = Predictor.load(foreign.bundle(tmp_path / "bundle"))
    assert predictor.predict("the cat").label in foreign.LABELS
    assert len(predictor.predict_batch(["the cat"] * 5)) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_there_is_no_label_where_scores_are_no_numbers(tmp_path: Path, bad: float) -> None:
    ending = [
        constant("bad", np.array([bad, 0], np.float32)),
        helper.make_node("Add", ["mean", "bad"], ["logits"]),
    ]
    predictor = Predictor.load(foreign.bundle(tmp_path / "bundle", foreign.graph(ending)))
    with pytest.raises(InputError, match="no numbers, so there is no label"):
        predictor.predict("the cat")
    with pytest.raises(InputError, match="no numbers"):
        predictor.logits(["the cat"])


def test_another_number_of_rows_is_an_error(tmp_path: Path) -> None:
    ending = [helper.make_node("Concat", ["mean", "mean"], ["logits"], axis=0)]
    predictor = Predictor.load(foreign.bundle(tmp_path / "bundle", foreign.graph(ending)))
    with pytest.raises(InputError, match=r"the shape \[4, 2\] for 2 inputs and 2 labels"):
        predictor.predict_batch(["the cat", "the dog"])


def test_a_graph_that_fails_says_so_once_and_shows_no_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    size = constant("size", np.array([1 << 62]))
    large = helper.make_node("ConstantOfShape", ["size"], ["large"], name="\x1b[31mred")
    ending = [
        size,
        large,
        constant("zero", np.array([0])),
        helper.make_node("ReduceSum", ["large", "zero"], ["one"], keepdims=1),
        helper.make_node("Add", ["mean", "one"], ["logits"]),
    ]
    folder = foreign.bundle(tmp_path / "bundle", foreign.graph(ending))
    with pytest.raises(InputError, match="onnxruntime .*cannot"):
        Predictor.load(folder).predict("the cat")
    assert "red" not in "".join(capfd.readouterr())


def test_a_loop_without_end_is_never_run(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["on"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        "body",
        [
            value("number", foreign.INT64, []),
            value("again", onnx.TensorProto.BOOL, []),
            value("state", foreign.FLOAT, ["batch", 2]),
        ],
        [value("on", onnx.TensorProto.BOOL, []), value("next", foreign.FLOAT, ["batch", 2])],
    )
    ending = [
        constant("yes", np.array(True)),
        helper.make_node("Loop", ["", "yes", "mean"], ["logits"], body=body),
    ]
    folder = foreign.bundle(tmp_path / "bundle")
    looping = foreign.graph(ending).SerializeToString()
    foreign.replaced(folder, "model.onnx", looping)
    with pytest.raises(InputError, match="the operator 'Loop'"):
        Predictor.load(folder)
    with pytest.raises(CheckFailed, match="the operator 'Loop'"):
        verify(folder)
