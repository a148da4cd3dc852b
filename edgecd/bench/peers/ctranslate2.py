"""CTranslate2 int8 of the same model.

Its converter knows causal language models. The checkpoint's decoder goes through the converter's
own loader with the `score` layer in the place of the language model's head, so that the head has
one row for each label; `forward_batch` then gives the label logits in one pass over the prompt.
`generate_batch` would need the head over the whole vocabulary, and gives back only its best token.

Of encoders it knows no classifier. BERT's classifier is one matrix on the pooled state, which
CTranslate2 gives, so that matrix alone is multiplied outside; other families' heads are more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, load_classifier, model_type
from edgecd.errors import InputError
from edgecd.formats.kinds import ENCODERS

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

PACKAGE, PROVIDER = "ctranslate2", "cpu"
IMPORTS = ("ctranslate2",)
BERT, HEAD = "bert", "head.npz"


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """`model.bin` with int8 weights, and BERT's `head.npz` in fp32.

    InputError for a family without a converter, and for an encoder whose head CTranslate2 lacks.
    """
    import torch
    from ctranslate2.converters.transformers import _MODEL_LOADERS

    family = model_type(checkpoint)
    if family in ENCODERS and family != BERT:
        raise InputError(
            f"CTranslate2 runs no text classifier of an encoder; of {BERT} it gives what the head "
            f"multiplies, and of {family} it does not"
        )
    model: Any = load_classifier(checkpoint)
    kind = type(model.config).__name__
    if kind not in _MODEL_LOADERS:
        raise InputError(f"CTranslate2 has no converter for {kind}")
    if family == BERT:
        head = model.classifier
        np.savez(
            folder / HEAD, weight=head.weight.detach().numpy(), bias=head.bias.detach().numpy()
        )
        model = model.bert
        model.config.position_embedding_type = "absolute"  # the only one, which is not said
    else:
        model.lm_head = model.score
    with torch.no_grad():
        spec = _MODEL_LOADERS[kind].get_model_spec(model)
    config = spec.config
    config.bos_token = config.eos_token = config.unk_token = ""
    config.layer_norm_epsilon = getattr(
        model.config, "rms_norm_eps", getattr(model.config, "layer_norm_eps", None)
    )
    # Token ids are passed; the names of the tokens are not used.
    spec.register_vocabulary([f"<{place}>" for place in range(model.config.vocab_size)])
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """An input's tokens to logits."""
    import ctranslate2

    options = {"compute_type": "int8", "intra_threads": threads}
    if (folder / HEAD).exists():
        return _encoder(ctranslate2.Encoder(str(folder), **options), folder / HEAD)
    generator = ctranslate2.Generator(str(folder), **options)

    def answer(one: Encoded) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = np.array(generator.forward_batch([one.ids]))[0, -1]
        return logits

    return answer


def _encoder(encoder: Any, file: Path) -> Logits:
    with np.load(file) as head:
        weight, bias = head["weight"], head["bias"]

    def answer(one: Encoded) -> NDArray[np.float32]:
        found = encoder.forward_batch([one.ids], token_type_ids=[one.type_ids])
        logits: NDArray[np.float32] = weight @ np.array(found.pooler_output)[0] + bias
        return logits

    return answer
