"""The checkpoint itself in PyTorch, in fp32 or bfloat16."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, load_classifier
from edgecd.formats.contract import SEGMENTS

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

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
    """An input's tokens to logits."""
    import torch

    from edgecd.lm.encoders import takes_types

    torch.set_num_threads(threads)
    model = load_classifier(folder, "bfloat16" if variant == "bf16" else "float32")

    typed = takes_types(model.config)

    @torch.inference_mode()
    def answer(one: Encoded) -> NDArray[np.float32]:
        types = {SEGMENTS: torch.tensor([one.type_ids])} if typed else {}
        logits: NDArray[np.float32] = (
            model(torch.tensor([one.ids]), **types).logits[0].float().numpy()
        )
        return logits

    return answer
