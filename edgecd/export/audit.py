"""What ONNX Runtime really runs: operators and constants after its own optimisation.

A runtime may fold quantized constants back to fp32 while it loads a graph: full size in memory,
slow, and nobody is told. So the optimised graph is what counts.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.errors import CheckFailed

if TYPE_CHECKING:
    import onnx

QUANTIZED_MATMULS = frozenset({"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"})
_SLACK_BYTES = 1 << 16  # shapes and shared constants


@dataclass(frozen=True)
class Audit:
    """Operators by name, and bytes of constants that are floating point or not."""

    operators: dict[str, int]
    float_constant_bytes: int
    integer_constant_bytes: int

    def metadata(self) -> dict[str, Any]:
        """The numbers for a manifest, operators as one line of text, the most frequent first."""
        ordered = sorted(self.operators.items(), key=lambda item: (-item[1], item[0]))
        return {
            "operators": ", ".join(f"{number} {name}" for name, number in ordered),
            "float_constant_bytes": self.float_constant_bytes,
            "integer_constant_bytes": self.integer_constant_bytes,
        }

    @property
    def quantized_matmuls(self) -> int:
        """Matrix products with quantized weights."""
        return sum(self.operators.get(name, 0) for name in QUANTIZED_MATMULS)


def audit(path: Path) -> Audit:
    """The graph of an ONNX file as ONNX Runtime would run it on this machine's CPU."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        optimised = Path(work) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3
        # Packed weights would not be in the file.
        options.add_session_config_entry("session.disable_prepacking", "1")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return count(onnx.load(optimised))


def count(graph: onnx.ModelProto) -> Audit:
    """The numbers of a graph as it stands."""
    import onnx

    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    sizes = {True: 0, False: 0}
    for tensor in graph.graph.initializer:
        size = len(tensor.raw_data) or tensor.ByteSize()
        sizes[tensor.data_type in floats] += size
    operators = Counter(node.op_type for node in graph.graph.node)
    return Audit(dict(operators), sizes[True], sizes[False])


def refuse_folded(graph: onnx.ModelProto, found: Audit, linear_layers: int) -> None:
    """Raise CheckFailed when the runtime folded constants of a quantized graph back to fp32.

    `found` is the audit of `graph`; `linear_layers` of it must run with quantized weights.
    """
    written = count(graph)
    if found.quantized_matmuls < linear_layers:
        raise CheckFailed(
            f"onnxruntime runs {found.quantized_matmuls} of {linear_layers} linear layers with "
            "quantized weights: the rest was folded back to fp32"
        )
    if found.float_constant_bytes > written.float_constant_bytes + _SLACK_BYTES:
        raise CheckFailed(
            f"onnxruntime folds quantized constants back to floating point: "
            f"{found.float_constant_bytes:,} bytes of them when loaded, "
            f"{written.float_constant_bytes:,} in the file"
        )
