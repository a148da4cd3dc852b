"""The checkpoint itself in PyTorch, in fp32 or bfloat16."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, load_classifier

PACKAGE, PROVIDER = "torch", "cpu"
IMPORTS = ("torch", "transformers.modeling_utils")


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """The model's files as they are, or its weights rounded to bfloat16."""
    if variant == "bf16":
        load_classifier(checkpoint, "bfloat16").save_pretrained(folder)
        return
    for file in [checkpoint / "config.json", *checkpoint.glob("*.safetensors*")]:
        shutil.copy(file, folder)


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """Token ids to logits."""
    import torch

    torch.set_num_threads(threads)
    model = load_classifier(folder, "bfloat16" if variant == "bf16" else "float32")

    @torch.inference_mode()
    def answer(ids: list[int]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.tensor([ids])).logits[0].float().numpy()
        return logits

    return answer
