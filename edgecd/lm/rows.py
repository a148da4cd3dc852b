"""Prompts as a batch of a PyTorch model, and the answers of a classifier to many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.tasks.batching import batches, padded

ROWS = 16


def pad_rows(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), int64 [prompts, longest] on `device`, padded on the right (see `padded`)."""
    ids, mask = padded(prompts, pad_token_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


@torch.no_grad()
def classifier_logits(
    model: Any, prompts: Sequence[Sequence[int]], rows: int = ROWS, tokens: int | None = None
) -> NDArray[np.float32]:
    """Logits of a `*ForSequenceClassification`, float32 [prompts, labels], in the order given.

    Batches of similar length, of at most `rows` and `tokens` (None: any). A model that trains goes
    on as it was.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits = np.zeros((len(prompts), model.config.num_labels), np.float32)
    for places in batches([len(one) for one in prompts], rows, tokens):
        some = [prompts[place] for place in places]
        ids, mask = pad_rows(some, model.config.pad_token_id, device)
        found = model(input_ids=ids, attention_mask=mask).logits
        logits[places] = found.float().cpu().numpy()
    model.train(was_training)
    return logits
