"""Optimum's exporter, dynamic int8 quantizer and model class; needs transformers 4.57.

So it lives in an environment of its own: no release of optimum-onnx goes with transformers 5.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, batch_of_one
from edgecd.bench.peers.ort import session_options

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

PACKAGE, PROVIDER = "optimum-onnx", "CPUExecutionProvider"
IMPORTS = ("optimum.onnxruntime.modeling",)


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """Export, then quantize as Optimum's documentation does for AVX-512 VNNI."""
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    model = ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True)
    model.save_pretrained(folder / "fp32")
    ORTQuantizer.from_pretrained(folder / "fp32").quantize(
        save_dir=folder,
        quantization_config=AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False),
    )
    shutil.rmtree(folder / "fp32")


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """Tokens to logits, through the drop-in class that takes and gives PyTorch tensors."""
    import torch
    from optimum.onnxruntime import ORTModelForSequenceClassification

    torch.set_num_threads(threads)
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name="model_quantized.onnx", session_options=session_options(threads)
    )

    names = [one.name for one in model.session.get_inputs()]

    def answer(one: Encoded) -> NDArray[np.float32]:
        batch = batch_of_one(one, names)
        output = model(**{name: torch.from_numpy(values) for name, values in batch.items()})
        logits: NDArray[np.float32] = output.logits[0].numpy()
        return logits

    return answer
