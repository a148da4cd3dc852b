"""The checkpoint itself in PyTorch fp32: what every other row's labels are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from checkpoint import load_classifier
from transformers import PreTrainedModel  # noqa: F401  (so that its time is not the loading's)

PACKAGE = "torch"


def prepare(checkpoint: Path, folder: Path, variant: str) -> None:
    """Copy the model's files (without the tokenizer's, as for the other peers)."""
    for file in [checkpoint / "config.json", *checkpoint.glob("*.safetensors*")]:
        shutil.copy(file, folder / file.name)


def load(folder: Path, variant: str, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits."""
    torch.set_num_threads(threads)
    model = load_classifier(folder)

    def answer(ids: list[int]) -> np.ndarray:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids])).logits[0].numpy()

    return answer
