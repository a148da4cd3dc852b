"""Which ONNX files may be handed to a runtime; the runtime itself would take them all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgecd.errors import InputError
from edgecd.formats import graphfile
from edgecd.formats.graphfile import TENSOR_PATHS, check_graph

FLOAT = onnx.TensorProto.FLOAT


def test_the_walked_fields_are_all_that_lead_to_a_tensor() -> None:
    onnx = pytest.importorskip("onnx")
    todo, seen = [onnx.ModelProto.DESCRIPTOR], {}
    while todo:
        message = todo.pop()
        if message.name not in seen:
            fields = [one for one in message.fields if one.message_type is not None]
            seen[message.name] = {one.number: one.message_type.name for one in fields}
            todo += [one.message_type for one in fields]
    reach = {"TensorProto"}
    while more := {name for name in set(seen) - reach if reach & set(seen[name].values())}:
        reach |= more
    assert {
        name: {number: to for number, to in seen[name].items() if to in reach}
        for name in reach - {"TensorProto"}
    } | {"TensorProto": {}} == TENSOR_PATHS


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, [4])


def tensor(external: bool = False, name: str = "w") -> Any:
    made = helper.make_tensor(name, FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    if external:
        made.data_location = onnx.TensorProto.EXTERNAL
        made.external_data.add(key="location", value="../../etc/passwd")
    return made


def graph(nodes: list[Any], *initializers: Any) -> Any:
    return helper.make_graph(nodes, "g", [value("x")], [value("y")], list(initializers))


ADD = helper.make_node("Add", ["x", "w"], ["y"])
OPSETS = [helper.make_opsetid("", 17)]


def model(graph: Any, **more: Any) -> Any:
    return helper.make_model(graph, ir_version=9, **{"opset_imports": OPSETS, **more})


def constant(external: bool = False) -> Any:
    return helper.make_node("Constant", [], ["w"], value=tensor(external))


def inner(node: Any) -> Any:
    return helper.make_graph([node], "inner", [], [value("w")])


def sparse(external: bool) -> Any:
    made = graph([ADD])
    made.sparse_initializer.add().values.CopyFrom(tensor(external))
    return model(made)


def with_function(external: bool) -> Any:
    function = helper.make_function("d", "f", [], ["w"], [constant(external)], OPSETS)
    return model(graph([ADD], tensor()), functions=[function])


def with_training(external: bool) -> Any:
    made = model(graph([ADD], tensor()))
    made.training_info.add().algorithm.initializer.append(tensor(external))
    return made


def with_branches(external: bool) -> Any:
    branch = inner(constant(external))
    node = helper.make_node("If", ["x"], ["w"], then_branch=branch, else_branch=branch)
    return model(graph([node, ADD]))


HIDDEN: dict[str, Callable[[bool], Any]] = {
    "initializer": lambda external: model(graph([ADD], tensor(external))),
    "attribute": lambda external: model(graph([constant(external), ADD])),
    "sparse": sparse,
    "function": with_function,
    "training": with_training,
    "subgraph": with_branches,
}


@pytest.mark.parametrize("where", HIDDEN)
def test_external_data_is_refused_wherever_it_hides(tmp_path: Path, where: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(HIDDEN[where](True).SerializeToString())
    with pytest.raises(InputError, match="model.onnx has .*: export the run again"):
        check_graph(path)
    if where in ("initializer", "attribute"):
        path.write_bytes(HIDDEN[where](False).SerializeToString())
        check_graph(path)


def loops() -> dict[str, Any]:
    body = inner(helper.make_node("Identity", ["x"], ["w"]))
    return {
        "Loop": helper.make_node("Loop", ["x", "x"], ["w"], body=body),
        "Scan": helper.make_node("Scan", ["x"], ["w"], body=body, num_scan_inputs=1),
        "If": helper.make_node("If", ["x"], ["w"], then_branch=body, else_branch=body),
        "BeamSearch": helper.make_node(
            "BeamSearch", ["x"], ["w"], domain="com.microsoft", decoder=body
        ),
    }


@pytest.mark.parametrize("name", loops())
def test_control_flow_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    node = loops()[name]
    path.write_bytes(model(graph([node, ADD])).SerializeToString())
    with pytest.raises(InputError, match="a graph within its graph|the operator"):
        check_graph(path)
    del node.attribute[:]  # its name alone will do, and a function hides nothing
    function = helper.make_function("com.microsoft", "f", ["x"], ["w"], [node], OPSETS)
    path.write_bytes(model(graph([ADD], tensor()), functions=[function]).SerializeToString())
    with pytest.raises(InputError, match="functions of its own"):
        check_graph(path)


def test_chance_has_no_say(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    node = helper.make_node("RandomNormal", [], ["w"], shape=[4])
    path.write_bytes(model(graph([node, ADD])).SerializeToString())
    with pytest.raises(InputError, match="the operator 'RandomNormal'"):
        check_graph(path)


@pytest.mark.parametrize("domain", ["ai.onnx.contrib", "somebody", "ai.onnx.ml"])
def test_operators_of_unknown_makers_are_refused(domain: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    node = helper.make_node("Anything", ["x"], ["w"], domain=domain)
    path.write_bytes(model(graph([node, ADD])).SerializeToString())
    with pytest.raises(InputError, match=f"operators of '{domain}'"):
        check_graph(path)
    opsets = [*OPSETS, helper.make_opsetid(domain, 1)]
    path.write_bytes(model(graph([ADD], tensor()), opset_imports=opsets).SerializeToString())
    with pytest.raises(InputError, match=f"operators of '{domain}'"):
        check_graph(path)


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for sizes in ([1 << 40], [1 << 20, 1 << 20], [-1]):
        huge = tensor()
        del huge.dims[:]
        huge.dims.extend(sizes)
        path.write_bytes(model(graph([ADD], huge)).SerializeToString())
        with pytest.raises(InputError, match="larger than its values"):
            check_graph(path)


@pytest.mark.parametrize("limit", ["MAX_NODES", "MAX_TENSORS"])
def test_the_number_of_operators_and_tensors_is_bounded(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    nodes = [helper.make_node("Add", ["x", "w"], [f"y{n}"]) for n in range(9)]
    tensors = [tensor(name=f"w{n}") for n in range(9)]
    path.write_bytes(model(graph(nodes, *tensors)).SerializeToString())
    check_graph(path)
    monkeypatch.setattr(graphfile, limit, 8)
    with pytest.raises(InputError, match="has over"):
        check_graph(path)


# --- the same bytes, read in two ways ---------------------------------------------------------


def number(value: int, longer: int = 0) -> bytes:
    """A varint, with `longer` bytes more than it needs."""
    out = []
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    zeros = [0x80] * (longer - 1) + [0] if longer else []
    return bytes([*out, value | (0x80 if longer else 0), *zeros])


def field(key: int, wire: int, payload: bytes, **how: int) -> bytes:
    """A field, whose key or length is written oddly: `longer`, `above` 32 bits, `long_size`."""
    tag = number(key << 3 | wire | how.get("above", 0), how.get("longer", 0))
    size = number(len(payload), how.get("long_size", 0)) if wire == 2 else b""
    return tag + size + payload


def two_faced(**how: int) -> bytes:
    """A model with a tensor in `weights.bin`, the fields that say so written oddly."""
    entry = field(1, 2, b"location") + field(2, 2, b"weights.bin")
    odd = field(1, 0, number(4)) + field(2, 0, number(1)) + field(8, 2, b"w")
    odd += field(13, 2, entry, **how) + field(14, 0, number(1), **how)
    made = model(graph([ADD]))
    inside = made.graph.SerializeToString() + field(5, 2, odd)
    made.ClearField("graph")
    return bytes(made.SerializeToString() + field(7, 2, inside))


@pytest.mark.parametrize(
    "how", [{"longer": 1}, {"longer": 4}, {"above": 1 << 32}, {"long_size": 2}]
)
def test_numbers_that_hide_another_file_from_one_reader_are_refused(
    how: dict[str, int], tmp_path: Path
) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(two_faced(**how))
    np.array([5, 6, 7, 8], np.float32).tofile(tmp_path / "weights.bin")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    read = session.run(None, {"x": np.zeros(4, np.float32)})[0]
    assert read.tolist() == [5, 6, 7, 8], "onnxruntime reads the file: the check is needed"
    with pytest.raises(InputError, match="is not an ONNX file"):
        check_graph(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_walked_to_an_answer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        check_graph(path)
