"""CTranslate2 int8 of the same decoder.

Its converter knows causal language models. The checkpoint's decoder goes through the converter's
own loader with the `score` layer in the place of the language model's head, so that the head has
one row for each label; `forward_batch` then gives the label logits in one pass over the prompt.
`generate_batch` would need the head over the whole vocabulary, and gives back only its best token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, load_classifier
from edgecd.errors import InputError

PACKAGE, PROVIDER = "ctranslate2", "cpu"
IMPORTS = ("ctranslate2",)


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """`model.bin` with int8 weights; InputError for a family without a converter."""
    import torch
    from ctranslate2.converters.transformers import _MODEL_LOADERS

    model: Any = load_classifier(checkpoint)
    kind = type(model.config).__name__
    if kind not in _MODEL_LOADERS:
        raise InputError(f"CTranslate2 has no converter for {kind}")
    model.lm_head = model.score
    with torch.no_grad():
        spec = _MODEL_LOADERS[kind].get_model_spec(model)
    config = spec.config
    config.bos_token = config.eos_token = config.unk_token = ""
    config.layer_norm_epsilon = getattr(model.config, "rms_norm_eps", None)
    # Token ids are passed; the names of the tokens are not used.
    spec.register_vocabulary([f"<{place}>" for place in range(model.config.vocab_size)])
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """Token ids to logits."""
    import ctranslate2

    generator = ctranslate2.Generator(str(folder), compute_type="int8", intra_threads=threads)

    def answer(ids: list[int]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = np.array(generator.forward_batch([ids]))[0, -1]
        return logits

    return answer
