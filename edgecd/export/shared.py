"""What all layers of a graph share: positions, rotary tables, windows, and the past."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgecd.export.stack import Rotary, Stack
from edgecd.export.tape import constant, ints, op

if TYPE_CHECKING:
    import onnx_ir as ir

_T = TypeVar("_T")

PAST_LENGTH = "past_length"


class Shared:
    """What all layers share, each part written when the first layer asks for it."""

    def __init__(
        self,
        tape: ir.tape.Tape,
        stack: Stack,
        tokens: ir.Value,
        past: ir.Value | None = None,
        first: ir.Value | None = None,
    ) -> None:
        # `tokens` [batch, sequence, ...] are ids or embeddings: only their number is read. `first`
        # [1] is the first one's position, where it is not after the past
        self._tape, self._stack, self._tokens, self._past = tape, stack, tokens, past
        self._first = first
        self._made: dict[Any, Any] = {}
        self.states: list[tuple[ir.Value, ir.Value]] = []  # each layer's keys and values

    def _once(self, key: Any, make: Callable[[], _T]) -> _T:
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    def span(self) -> tuple[ir.Value, ir.Value]:
        """The texts' first position and the one after their last, int64 [1]: after the prefix."""

        def make() -> tuple[ir.Value, ir.Value]:
            if self._first is not None:
                start = self._first
            elif self._past is None:
                start = ints(self._tape, PAST_LENGTH, [self._stack.past_length])
            else:
                start = op(self._tape, "Shape", self._past, start=3, end=4)
            length = op(self._tape, "Shape", self._tokens, start=1, end=2)
            return start, op(self._tape, "Add", length, start)

        return self._once("span", make)

    def positions(self, start: int | None = None) -> ir.Value:
        """Positions from `start` (None: where the texts start) to the texts' end, int64."""

        def make() -> ir.Value:
            tape = self._tape
            first = (
                op(tape, "Squeeze", self.span()[0])
                if start is None
                else ints(tape, f"first_{start}", start)
            )
            end = op(tape, "Squeeze", self.span()[1])
            return op(tape, "Range", first, end, ints(tape, "step", 1))

        return self._once(("positions", start), make)

    def rotary(self, rotary: Rotary) -> tuple[ir.Value, ir.Value]:
        """cos and sin, [sequence, head_size / 2]: a table would bound the text's length."""
        import onnx_ir as ir

        def make() -> tuple[ir.Value, ir.Value]:
            tape, name = self._tape, f"rotary_{len(self._made)}"
            steps = op(tape, "Cast", self.positions(), to=ir.DataType.FLOAT.value)
            column = op(tape, "Unsqueeze", steps, ints(tape, "axis_1", [1]))
            frequencies = constant(tape, rotary.frequencies[None, :], f"{name}.frequencies")
            angles = op(tape, "Mul", column, frequencies)
            tables = [op(tape, function, angles) for function in ("Cos", "Sin")]
            if rotary.scaling != 1:
                scaling = constant(tape, np.array(rotary.scaling, np.float32), f"{name}.scaling")
                tables = [op(tape, "Mul", table, scaling) for table in tables]
            return tables[0], tables[1]

        return self._once((rotary.frequencies.tobytes(), rotary.scaling), make)

    def window(self, size: int) -> ir.Value:
        """bool [sequence, prefix + sequence]: which tokens are less than `size` back."""

        def make() -> ir.Value:
            tape, axis = self._tape, ints(self._tape, "axis_1", [1])
            queries = op(tape, "Unsqueeze", self.positions(), axis)
            keys = self._key_positions()
            back = op(tape, "Sub", queries, keys)
            return op(tape, "Less", back, ints(tape, f"window_{size}", size))

        return self._once(size, make)

    def _key_positions(self) -> ir.Value:
        """Positions of what comes before the texts, and theirs, int64."""
        if self._first is None:
            return self.positions(start=0)
        if self._past is None:
            return self.positions()
        tape = self._tape
        before = op(tape, "Shape", self._past, start=3, end=4)
        first, end = op(tape, "Sub", self._first, before), self.span()[1]
        scalars = (op(tape, "Squeeze", one) for one in (first, end))
        return op(tape, "Range", *scalars, ints(tape, "step", 1))

    def past(self, number: int) -> tuple[ir.Value, ir.Value] | None:
        """Keys and values of layer `number` for what comes before the text, for every row.

        [batch, kv_heads, positions, head_size] each; None when nothing does.
        """
        tape, attention = self._tape, self._stack.blocks[number].attention
        name = f"layers.{number}"
        if self._past is not None:
            keys, values = self._once("layers", self._by_layer)[2 * number : 2 * number + 2]
            if attention.value_scale is not None:
                scale = constant(tape, attention.value_scale[None, :, None], f"{name}.value_scale")
                values = op(tape, "Mul", values, scale)
        elif attention.past is not None:
            keys = constant(tape, attention.past.keys[None], f"{name}.past_keys")
            values = constant(tape, attention.past.values[None], f"{name}.past_values")
        else:
            return None

        def make() -> ir.Value:
            batch = op(tape, "Shape", self._tokens, start=0, end=1)
            return op(tape, "Concat", batch, ints(tape, "ones_3", [1, 1, 1]), axis=0)

        rows = self._once("past shape", make)
        return op(tape, "Expand", keys, rows), op(tape, "Expand", values, rows)

    def _by_layer(self) -> Sequence[ir.Value]:
        """The input `past` in [1, kv_heads, positions, head_size]: keys, values, keys, ..."""
        tape, layers = self._tape, len(self._stack.blocks)
        first = op(tape, "Shape", self._past, start=2)
        count = ints(tape, "layer_arrays", [2 * layers])
        merged = op(tape, "Reshape", self._past, op(tape, "Concat", count, first, axis=0))
        parts: Sequence[ir.Value] = op(
            tape, "Split", merged, axis=0, num_outputs=2 * layers, outputs=2 * layers
        )
        return parts
