"""A language model's output head: its rows of the label words, if it is a plain matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from edgecd.errors import InputError


def label_head(model: PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """The output head's rows of the label tokens, float32 [labels, width].

    Proves on a probe that `last hidden state @ rows` are the model's own logits (no head bias,
    no logit scaling, no soft cap), and raises InputError for a model where they are not.
    """
    rows: torch.Tensor = model.get_output_embeddings().weight[list(token_ids)].detach().float()
    probe = torch.tensor([[7, 11, 13]], device=model.device) % model.config.vocab_size
    with torch.no_grad():
        own = model(input_ids=probe).logits[0, -1, list(token_ids)].float()
        hidden = model.base_model(input_ids=probe).last_hidden_state[0, -1].float()
    folded = rows @ hidden
    tolerance = 1e-4 if model.dtype == torch.float32 else 5e-2
    if not torch.allclose(own, folded, rtol=tolerance, atol=tolerance * float(own.abs().max() + 1)):
        raise InputError(_odd_head(type(model).__name__))
    return rows


def check_head(name: str, config: Any) -> None:
    """Raise InputError where the configuration tells that `label_head` will; loads no weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling", "logits_soft_cap")
    said = {key: getattr(config.get_text_config(), key, None) for key in scaled}
    head = model.get_output_embeddings()
    odd = [f"{key} = {value:g}" for key, value in said.items() if value not in (None, 1)]
    odd += ["a bias"] if getattr(head, "bias", None) is not None else []
    if odd:
        raise InputError(f"{name}: {_odd_head(type(model).__name__)} (it has {', '.join(odd)})")


def _odd_head(kind: str) -> str:
    return (
        f"the output head of {kind} is more than a matrix (bias, scaling or soft cap), so its "
        "labels cannot be folded into a classifier exactly"
    )
