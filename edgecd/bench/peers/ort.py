"""ONNX Runtime on the traced graph: fp32, or its default dynamic int8 quantization.

With onnxruntime's own settings, in which its threads spin for a while after each call;
`dynamic-nospin` has that turned off, as a bundle has. On x86 without VNNI the 8-bit products of its
defaults saturate, which the labels show; a bundle takes the exact, slower way there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, batch_of_one, traced_file
from edgecd.formats.manifest import MODEL

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

PACKAGE, PROVIDER = "onnxruntime", "CPUExecutionProvider"
IMPORTS = ("onnxruntime",)


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """`model.onnx`, traced and (but for fp32) through `quantize_dynamic` as it comes."""
    traced = traced_file(checkpoint, work)
    if variant == "fp32":
        (folder / MODEL).hardlink_to(traced)
        return
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    # With all of them it takes ONNX's Attention for its own operator of that name, and writes a
    # graph that does not load.
    operators = [name for name in IntegerOpsRegistry if name != "Attention"]
    quantize_dynamic(traced, folder / MODEL, op_types_to_quantize=operators)


def session_options(threads: int) -> Any:
    """onnxruntime's own settings, with so many threads and without its remarks."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return options


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """An input's tokens to logits."""
    import onnxruntime

    options = session_options(threads)
    if variant.endswith("-nospin"):
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / MODEL, options, providers=[PROVIDER])
    names = [one.name for one in session.get_inputs()]

    def answer(one: Encoded) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], batch_of_one(one, names))[0][0]
        return logits

    return answer
