"""MEND's loss: cross-entropy on the answer, and divergence from the model with demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgecd.contexts.language import Continuation, Front, front_of_tokens, next_token_logits
from edgecd.lm.models import LanguageModel


@dataclass(frozen=True)
class Episode:
    """Demonstrations (or the head of a passage) as tokens, and what follows them."""

    context: tuple[int, ...]
    continuations: tuple[Continuation, ...]


@dataclass(frozen=True)
class LossWeights:
    """Of the two terms of the loss, and the temperature of the divergence."""

    cross_entropy: float
    divergence: float
    temperature: float = 1.0


def episode_loss(
    lm: LanguageModel, front: Front, episode: Episode, weights: LossWeights
) -> tuple[torch.Tensor, dict[str, float]]:
    """(loss, its terms): `cross_entropy` CE + `divergence` T^2 KL (arXiv 2403.06914, eq. 2-4).

    CE is the mean over the answers' tokens; KL, of the frozen model after the demonstrations from
    the frozen model after `front`, is the mean over the tokens of the queries and the answers.
    """
    logits, targets, is_answer = next_token_logits(lm, front, episode.continuations)
    loss = logits.new_zeros(())
    terms: dict[str, float] = {}
    if weights.cross_entropy:
        entropy = torch.nn.functional.cross_entropy(logits[is_answer], targets[is_answer])
        terms["cross_entropy"] = float(entropy.detach())
        loss = loss + weights.cross_entropy * entropy
    if weights.divergence:
        with torch.no_grad():
            read = front_of_tokens(lm, episode.context)
            taught, _, _ = next_token_logits(lm, read, episode.continuations)
        divergence = _divergence(logits, taught, weights.temperature)
        terms["divergence"] = float(divergence.detach())
        loss = loss + weights.divergence * weights.temperature**2 * divergence
    return loss, terms


def _divergence(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL(taught || logits) in nats, [tokens, vocabulary] each."""
    ours = torch.log_softmax(logits / temperature, dim=-1)
    theirs = torch.log_softmax(taught / temperature, dim=-1)
    return torch.nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
