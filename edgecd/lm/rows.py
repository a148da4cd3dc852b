"""Prompts as a batch of a PyTorch model, and the answers of a classifier to many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.lm.encoders import takes_types
from edgecd.tasks.batching import batches, padded
from edgecd.tasks.encoding import Encoded

ROWS = 16


def pad_rows(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), int64 [prompts, longest] on `device`, padded on the right (see `padded`)."""
    ids, mask = padded(prompts, pad_token_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def classifier_inputs(model: Any, inputs: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """One batch as a `*ForSequenceClassification` takes it, int64 [inputs, longest] each."""
    device = next(model.parameters()).device
    ids, mask = pad_rows([one.ids for one in inputs], model.config.pad_token_id, device)
    batch = {"input_ids": ids, "attention_mask": mask}
    if takes_types(model.config):
        types = [one.type_ids or [0] * len(one.ids) for one in inputs]
        batch["token_type_ids"], _ = pad_rows(types, 0, device)
    return batch


@torch.no_grad()
def classifier_logits(
    model: Any, inputs: Sequence[Encoded], rows: int = ROWS, tokens: int | None = None
) -> NDArray[np.float32]:
    """Logits of a `*ForSequenceClassification`, float32 [inputs, labels], in the order given.

    Batches of similar length, of at most `rows` and `tokens` (None: any). A model that trains goes
    on as it was.
    """
    was_training = model.training
    model.eval()
    logits = np.zeros((len(inputs), model.config.num_labels), np.float32)
    for places in batches([len(one.ids) for one in inputs], rows, tokens):
        found = model(**classifier_inputs(model, [inputs[place] for place in places])).logits
        logits[places] = found.float().cpu().numpy()
    model.train(was_training)
    return logits
