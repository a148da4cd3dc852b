"""A look into an ONNX file without any ONNX package: is it one that may be handed to a runtime?

ONNX tensors may keep their values in an external file, named by a path, which a runtime follows. A
bundle's graph never does, nor has it loops, functions or operators of unknown makers, so that what
it reads and how long it runs are bounded. Only the fields that can lead to a tensor or an operator
are walked (field numbers: onnx/onnx.proto); everything else is skipped unread.

Readers of protocol buffers differ in what they make of a number that is written longer than it
need be: onnxruntime takes a key's last 32 bits, for one. So such files are refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgecd.errors import InputError

# Message -> {field number: the message inside it}: all that can lead to a tensor.
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
# Those of them that no graph of a bundle has.
_REFUSED = {
    "TrainingInfoProto": "what is for training",
    "FunctionProto": "functions of its own",
    "SparseTensorProto": "sparse tensors",
}
_OPSETS, _OPSET_DOMAIN = 8, 1  # of ModelProto, of OperatorSetIdProto
_OPERATOR, _DOMAIN = 4, 7  # of NodeProto
_DIMENSIONS, EXTERNAL_DATA, DATA_LOCATION = 1, 13, 14  # of TensorProto
_DOMAINS = (b"", b"ai.onnx", b"com.microsoft")
# They run a graph of their own, without end if need be, or what is in another file or language; or
# they answer by chance.
_OPERATORS = frozenset(
    b"Loop Scan If SequenceMap EPContext ATen PythonOp PythonOpGrad RandomNormal RandomNormalLike "
    b"RandomUniform RandomUniformLike Multinomial Bernoulli".split()
)

# Far above any real graph.
MAX_BYTES = 1 << 31  # a protocol buffer ends there
MAX_NODES = 200_000
MAX_TENSORS = 100_000
_ELEMENTS_PER_BYTE = 4  # values of 2 bits

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _MalformedError(ValueError):
    """The bytes are not a protocol buffer as it is written by every library."""


class _RefusedError(ValueError):
    """The graph has what no bundle's has; the text is the end of a sentence."""


def check_graph(path: Path) -> None:
    """Raise InputError when the ONNX file at `path` may not be handed to a runtime.

    It keeps tensors elsewhere, is no ONNX file, is not written in the one common way, has
    operators that are not computed at once or not twice alike, or more than any model has.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise InputError(f"{path} is empty" if not size else f"{path} is over {MAX_BYTES} bytes")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _walk(data)
        except _MalformedError as bad:
            raise InputError(f"{path} is not an ONNX file: {bad}") from None
        except _RefusedError as bad:
            raise InputError(
                f"{path} has {bad}, which a bundle must not: export the run again"
            ) from None


def _walk(data: mmap.mmap) -> None:
    # An explicit stack, as deeply nested graphs must not exhaust the interpreter's.
    todo = [(0, len(data), "ModelProto", "")]
    nodes = tensors = 0
    while todo:
        at, end, message, within = todo.pop()
        if message in _REFUSED:
            raise _RefusedError(_REFUSED[message])
        if message == "GraphProto" and within != "ModelProto":
            raise _RefusedError("a graph within its graph (as Loop, If and Scan have)")
        if message == "TensorProto":
            tensors += 1
            _check_tensor(data, at, end)
            continue
        inside, is_node = TENSOR_PATHS[message], message == "NodeProto"
        nodes += is_node
        for number, wire, start, value in _fields(data, at, end):
            if wire != _BYTES:
                continue
            if number in inside:
                todo.append((start, value, inside[number], message))
            elif is_node and number == _OPERATOR:
                if data[start:value] in _OPERATORS:
                    raise _RefusedError(f"the operator {_shown(data[start:value])}")
            elif is_node and number == _DOMAIN:
                _check_domain(data[start:value])
            elif message == "ModelProto" and number == _OPSETS:
                for inner, kind, first, last in _fields(data, start, value):
                    if inner == _OPSET_DOMAIN and kind == _BYTES:
                        _check_domain(data[first:last])
        if nodes > MAX_NODES or tensors > MAX_TENSORS:
            raise _RefusedError(f"over {MAX_NODES} operators or {MAX_TENSORS} tensors")


def _check_tensor(data: mmap.mmap, at: int, end: int) -> None:
    elements = 1
    for number, wire, start, value in _fields(data, at, end):
        if number == EXTERNAL_DATA or (number == DATA_LOCATION and (wire != _VARINT or value)):
            raise _RefusedError("weights in another file (external data)")
        if number == _DIMENSIONS:
            packed = wire == _BYTES
            for size in _packed(data, start, value) if packed else (value,):
                elements *= size
    if elements > _ELEMENTS_PER_BYTE * (end - at):
        raise _RefusedError("a tensor that says it is larger than its values")


def _check_domain(domain: bytes) -> None:
    if domain not in _DOMAINS:
        raise _RefusedError(f"operators of {_shown(domain)}")


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start, value) of a message's fields.

    `value` is a number, or the place behind the last byte; what has neither is between.
    """
    while at < end:
        key = data[at]
        at += 1
        if key > 0x7F:
            key, at = _varint(data, at - 1, end)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise _MalformedError(f"there is no field {number}")
        start = at
        if wire == _BYTES:
            value, start = _varint(data, at, end)
            value = at = start + value
        elif wire == _VARINT:
            value, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            value = at = at + (8 if wire == _FIXED64 else 4)
        else:
            raise _MalformedError(f"unknown wire type {wire}")
        if at > end:
            raise _MalformedError("a field ends behind its message")
        yield number, wire, start, value


def _packed(data: mmap.mmap, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = _varint(data, at, end)
        yield value


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (shift and not byte) or value >= 1 << 64:
                raise _MalformedError("a number is written longer than it need be")
            return value, at
    raise _MalformedError("a number has no end")


def _shown(name: bytes) -> str:
    return repr(name[:64].decode("utf-8", errors="replace"))
