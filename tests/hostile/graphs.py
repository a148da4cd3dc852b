"""Hostile graphs: a protocol buffer that is taken apart, changed and put together again."""

from __future__ import annotations

from random import Random

from edgecd.formats.graphfile import TENSOR_PATHS
from tests.hostile.values import bytes_of

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int | bytes]
# What a graph may be made to name: operators of every kind, and whose.
_OPERATORS = (
    b"Loop Scan If SequenceMap Add Mul Div Identity Cast Gather ReduceSum Expand Tile Range Pad "
    b"ConstantOfShape RandomNormal NonZero Compress Reshape Concat Softmax Sqrt Log Transpose "
    b"Attention BeamSearch EPContext MatMulNBits Optional SequenceConstruct Resize OneHot Unknown"
).split()
_DOMAINS = (b"", b"ai.onnx", b"com.microsoft", b"ai.onnx.ml", b"ai.onnx.contrib", b"x" * 300)


def fields(data: bytes) -> list[Field]:
    """The fields of a message that is well formed: number, wire type, value."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        number, wire = key >> 3, key & 7
        content: int | bytes
        if wire == _VARINT:
            content, at = _read(data, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if size is None:
                size, at = _read(data, at)
            content, at = data[at : at + size], at + size
        found.append((number, wire, content))
    return found


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at


def varint(value: int, longer: int = 0) -> bytes:
    """A number, written with so many bytes more than it needs."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    if not longer:
        return bytes([*out, value])
    return bytes([*out, value | 0x80, *[0x80] * (longer - 1), 0])


def _written(random: Random, some: list[Field], odd: bool) -> bytes:
    out = bytearray()
    for number, wire, content in some:
        key = number << 3 | wire
        strange = odd and random.random() < 0.2
        if strange and random.random() < 0.5:
            key |= random.choice((1 << 32, 1 << 35))
        out += varint(key, random.choice((1, 3, 4)) if strange else 0)
        if isinstance(content, int):
            out += varint(content)
        elif wire == _BYTES:
            out += varint(len(content), random.choice((0, 2)) if strange else 0) + content
        else:
            out += content
    return bytes(out)


def changed(random: Random, data: bytes) -> bytes:
    """An ONNX model with some of its fields changed, at any depth, or with damaged bytes."""
    if random.random() < 0.15:
        return bytes_of(random, data)
    for _ in range(random.randint(1, 3)):
        try:
            data = _changed(random, data, "ModelProto")
        except IndexError:  # what was damaged cannot be taken apart again
            return data
    return data


def _changed(random: Random, data: bytes, message: str) -> bytes:
    some = fields(data)
    inside = TENSOR_PATHS.get(message, {})
    deeper = [place for place, one in enumerate(some) if one[1] == _BYTES and one[0] in inside]
    if deeper and random.random() < 0.85:
        place = random.choice(deeper)
        number, wire, content = some[place]
        assert isinstance(content, bytes)
        some[place] = (number, wire, _changed(random, content, inside[number]))
        return _written(random, some, odd=random.random() < 0.05)
    kind = random.random()
    if some and kind < 0.2:
        del some[random.randrange(len(some))]
    elif some and kind < 0.35:
        some.insert(random.randrange(len(some)), random.choice(some))
    elif kind < 0.55:
        some.append(_foreign(random, message))
    elif some:
        place = random.randrange(len(some))
        number, wire, content = some[place]
        some[place] = (number, wire, _other(random, message, number, content))
    return _written(random, some, odd=kind > 0.9)


def _other(random: Random, message: str, number: int, content: int | bytes) -> int | bytes:
    if isinstance(content, int):
        return random.choice((0, 1, 2, 7, 9, 23, 2**44, 2**63, 2**64 - 1))
    if message == "NodeProto" and number == 4:
        return random.choice(_OPERATORS)
    if message == "NodeProto" and number == 7:
        return random.choice(_DOMAINS)
    if message == "TensorProto" and number == 9 and len(content) % 4 == 0:
        return random.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff")) * (
            len(content) // 4
        )
    return bytes_of(random, content) if content else b"x"


def _foreign(random: Random, message: str) -> Field:
    """A field that does not belong there, or names what must not be."""
    entry = _written(random, [(1, 2, b"location"), (2, 2, b"weights.bin")], False)
    tensor = _written(
        random, [(1, 0, 4), (2, 0, 1), (8, 2, b"w"), (13, 2, entry), (14, 0, 1)], False
    )
    options: dict[str, list[Field]] = {
        "ModelProto": [(25, 2, b""), (20, 2, b""), (8, 2, b"\x0a\x01x\x10\x01")],
        "GraphProto": [(5, 2, tensor), (15, 2, b""), (1, 2, b"\x22\x04Loop")],
        "NodeProto": [(4, 2, random.choice(_OPERATORS)), (7, 2, random.choice(_DOMAINS))],
        "AttributeProto": [(5, 2, tensor), (6, 2, b""), (11, 2, b"\x12\x01g"), (22, 2, b"")],
        "TensorProto": [(13, 2, entry), (14, 0, 1), (1, 0, 2**40), (2, 0, 99)],
    }
    fallback: list[Field] = [(random.randrange(1, 40), 2, random.randbytes(5))]
    return random.choice(options.get(message, fallback) + fallback)
