"""A look into an ONNX file without any ONNX package: does it point to other files?

ONNX tensors may keep their values in an external file, named by a path. A bundle's graph never
does, so one that does is refused before a runtime would follow the path. Only the fields that can
lead to a tensor are walked (field numbers: onnx/onnx.proto); everything else is skipped unread.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from edgecd.errors import InputError

# Message -> {field number: the message inside it}.
TENSOR_PATHS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _MalformedError(ValueError):
    """The bytes are not a protocol buffer."""


def refuse_external_data(path: Path) -> None:
    """Raise InputError when the ONNX file at `path` keeps tensors elsewhere, or is no ONNX file."""
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            external = _has_external_tensor(data)
        except _MalformedError as bad:
            raise InputError(f"{path} is not an ONNX file: {bad}") from None
    if external:
        raise InputError(
            f"{path} keeps weights in another file (external data), which a bundle must not: "
            "export the run again"
        )


def _has_external_tensor(data: mmap.mmap) -> bool:
    # An explicit stack, as deeply nested graphs must not exhaust the interpreter's.
    todo = [(0, len(data), "ModelProto")]
    while todo:
        at, end, message = todo.pop()
        inside = TENSOR_PATHS[message]
        while at < end:
            key, at = _varint(data, at, end)
            number, wire = key >> 3, key & 7
            value, start = 0, at
            if wire == _VARINT:
                value, at = _varint(data, at, end)
            elif wire == _BYTES:
                size, start = _varint(data, at, end)
                at = start + size
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                raise _MalformedError(f"unknown wire type {wire}")
            if at > end:
                raise _MalformedError("a field ends behind its message")
            if wire == _BYTES and number in inside:
                todo.append((start, at, inside[number]))
            if message == "TensorProto" and (
                (wire == _VARINT and number == DATA_LOCATION and value)
                or (wire == _BYTES and number == EXTERNAL_DATA)
            ):
                return True
    return False


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError("a number has no end")
