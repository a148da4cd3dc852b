"""ONNX Runtime on the traced graph: fp32, or its default dynamic int8 quantization.

With onnxruntime's own settings, in which its threads spin for a while after each call;
`dynamic-nospin` has that turned off, as a bundle has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from checkpoint import traced_file

PACKAGE = "onnxruntime"


def prepare(checkpoint: Path, folder: Path, variant: str) -> None:
    """`model.onnx`, traced and (but for fp32) through `quantize_dynamic` as it comes."""
    traced = traced_file(checkpoint, folder.parent)
    if variant == "fp32":
        (folder / "model.onnx").hardlink_to(traced)
        return
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    # With all of them it takes ONNX's Attention for its own operator of that name, and writes a
    # graph that does not load.
    operators = [name for name in IntegerOpsRegistry if name != "Attention"]
    quantize_dynamic(traced, folder / "model.onnx", op_types_to_quantize=operators)


def load(folder: Path, variant: str, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if variant.endswith("-nospin"):
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )

    def answer(ids: list[int]) -> np.ndarray:
        tokens = np.array([ids], np.int64)
        inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        return session.run(["logits"], inputs)[0][0]

    return answer
