"""An edgecd bundle, through the Predictor that its users call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime  # noqa: F401  (imported here so that its time is not the loading's)
import tokenizers  # noqa: F401

from edgecd.encoding import Encoded
from edgecd.runtime.predictor import Predictor

PACKAGE = "onnxruntime"


def prepare(checkpoint: Path, folder: Path, variant: str) -> None:
    """Nothing to do: a bundle is what is loaded."""


def load(folder: Path, variant: str, threads: int) -> Callable[[list[int]], np.ndarray]:
    """Token ids to logits; the tokenizer and the hashes of the files are part of the loading."""
    predictor = Predictor.load(folder, threads=threads)
    return lambda ids: bundle_call(predictor, ids)


def bundle_call(predictor: Predictor, ids: list[int]) -> np.ndarray:
    """The logits of one prompt that is token ids already."""
    return predictor.run([Encoded(ids, False)])[0]
