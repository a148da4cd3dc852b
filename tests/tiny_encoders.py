"""Encoder classifiers of few layers, made in memory for tests: random, or fitted to a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tests.tiny import PAD_TOKEN_ID, built, padded_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Encoder = Literal["bert", "distilbert", "roberta", "xlm-roberta"]
ENCODERS: tuple[Encoder, ...] = ("bert", "distilbert", "roberta", "xlm-roberta")
LABELS = 3


def tiny_encoder(
    family: Encoder, vocab_size: int, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random `*ForSequenceClassification` of two layers, 64 wide, in fp32 and eval mode."""
    from transformers import (
        AutoModelForSequenceClassification,
        BertConfig,
        DistilBertConfig,
        RobertaConfig,
        XLMRobertaConfig,
    )

    common = {"vocab_size": vocab_size, "pad_token_id": PAD_TOKEN_ID, "num_labels": LABELS}
    # Wider than the usual 0.02: else every input gets nearly the same logits.
    common |= {"max_position_embeddings": 160, "initializer_range": 0.2}
    if family == "distilbert":
        config = DistilBertConfig(
            **{**common, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, **changes}
        )
    else:
        wide = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        classes = {"bert": BertConfig, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig}
        config = classes[family](**{**common, **wide, "intermediate_size": 128, **changes})
    return built(AutoModelForSequenceClassification, config, seed)


def fitted_encoder(family: Encoder, vocab_size: int, steps: int = 150) -> PreTrainedModel:
    """One that tells which third of the vocabulary most of a text's tokens are of, or nearly so."""
    import torch

    model: Any = tiny_encoder(family, vocab_size, initializer_range=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        batch = segmented(model, padded_batch(32, 24, vocab_size, seed=1000 + step))
        gold = torch.from_numpy(majority_third(batch, vocab_size))
        logits = model(**{name: torch.from_numpy(value) for name, value in batch.items()}).logits
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, gold).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


def majority_third(batch: dict[str, np.ndarray], vocab_size: int) -> np.ndarray:
    """The third of the vocabulary that most real tokens of each row are of, int64 [rows]."""
    thirds = np.minimum(batch["input_ids"] * LABELS // vocab_size, LABELS - 1)
    real = batch["attention_mask"] == 1
    counts = [((thirds == third) & real).sum(axis=1) for third in range(LABELS)]
    return np.argmax(counts, axis=0)


def has_segments(model: Any) -> bool:
    """Whether the graph takes `token_type_ids`, too."""
    return model.config.model_type == "bert" and model.config.type_vocab_size > 1


def segmented(model: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch as the model takes it: where it has segments, texts' second halves are another."""
    if not has_segments(model):
        return batch
    lengths = batch["attention_mask"].sum(axis=1, keepdims=True)
    places = np.arange(batch["input_ids"].shape[1])
    second = (places >= lengths // 2) & (places < lengths)
    return {**batch, "token_type_ids": second.astype(np.int64)}
