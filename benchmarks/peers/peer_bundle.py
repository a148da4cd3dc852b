"""An edgecd bundle, through the Predictor that its users call, as a module of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecd.runtime.predictor import Predictor
from edgecd.tasks.encoding import Encoded

PACKAGE = "onnxruntime"
IMPORTS = ("onnxruntime", "tokenizers")


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """Nothing to do: a bundle is what is loaded."""


def load(
    folder: Path, variant: str, threads: int, max_tokens: int
) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits; the tokenizer and the hashes of the files are part of the loading."""
    predictor = Predictor.load(folder, threads=threads)
    return lambda ids: predictor.run([Encoded(ids, False)])[0]
