"""OpenVINO with NNCF's 8-bit weight compression, and the CPU plugin's dynamic quantization.

All at their defaults, with the latency hint. The plugin then computes in bfloat16 where the
processor has it, which the logits show; `int8-f32` asks for float32. Dynamic quantization of the
activations (groups of 32) is on in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, batch_of_one, traced_file

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

PACKAGE, PROVIDER = "openvino", "CPU"
IMPORTS = ("openvino",)


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """`model.xml` and `model.bin` from the traced graph."""
    import nncf
    import openvino as ov

    model = ov.convert_model(traced_file(checkpoint, work))
    ov.save_model(nncf.compress_weights(model), folder / "model.xml")


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """An input's tokens to logits, with one inference request that is used again."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if variant == "int8-f32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    model = ov.Core().compile_model(folder / "model.xml", PROVIDER, settings)
    request = model.create_infer_request()
    names = [one.get_any_name() for one in model.inputs]

    def answer(one: Encoded) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = request.infer(batch_of_one(one, names))["logits"][0].copy()
        return logits

    return answer
