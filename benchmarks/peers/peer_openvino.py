"""OpenVINO with NNCF's 8-bit weight compression, and the CPU plugin's dynamic quantization.

All at their defaults, with the latency hint. The plugin then computes in bfloat16 where the
processor has it, which the logits show; `int8-f32` asks for float32. Dynamic quantization of the
activations (groups of 32) is on in both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
from checkpoint import traced_file

PACKAGE = "openvino"


def prepare(checkpoint: Path, folder: Path, variant: str) -> None:
    """`model.xml` and `model.bin` from the traced graph."""
    import nncf

    model = ov.convert_model(traced_file(checkpoint, folder.parent))
    ov.save_model(nncf.compress_weights(model), folder / "model.xml")


def load(folder: Path, variant: str, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits, with one inference request that is used again."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if variant == "int8-f32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = ov.Core().compile_model(folder / "model.xml", "CPU", settings).create_infer_request()

    def answer(ids: list[int]) -> np.ndarray:
        tokens = np.array([ids], np.int64)
        inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        return request.infer(inputs)["logits"][0].copy()

    return answer
