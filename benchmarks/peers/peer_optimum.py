"""Optimum's exporter, dynamic int8 quantizer and model class; needs transformers 4.57.

Runs under an interpreter of its own (`--optimum-python`): no release of optimum-onnx goes with
transformers 5.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from checkpoint import for_transformers_4
from optimum.onnxruntime import ORTModelForSequenceClassification

PACKAGE = "optimum-onnx"


def prepare(checkpoint: Path, folder: Path, variant: str) -> None:
    """Export, then quantize as Optimum's documentation does for AVX-512 VNNI."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    source = for_transformers_4(checkpoint, folder / "source")
    model = ORTModelForSequenceClassification.from_pretrained(source, export=True)
    model.save_pretrained(folder / "fp32")
    ORTQuantizer.from_pretrained(folder / "fp32").quantize(
        save_dir=folder,
        quantization_config=AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False),
    )
    for part in ("source", "fp32"):
        shutil.rmtree(folder / part)


def load(folder: Path, variant: str, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits, through the drop-in class that takes and gives PyTorch tensors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    torch.set_num_threads(threads)
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name="model_quantized.onnx", session_options=options
    )

    def answer(ids: list[int]) -> np.ndarray:
        tokens = torch.tensor([ids])
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
        return logits[0].numpy()

    return answer
