"""How well a task is answered after a front: options ranked by their mean log-likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.contexts.episodes import query_ids
from edgecd.contexts.language import Continuation, Front, next_token_logits
from edgecd.errors import InputError
from edgecd.lm.models import LanguageModel
from edgecd.tasks.batching import batches
from edgecd.tasks.encoding import token_ids
from edgecd.tasks.metrics import calibrate_labels, label_calibration
from edgecd.tasks.partition import TextExample

_BATCH = 8


@torch.no_grad()
def option_scores(
    lm: LanguageModel, front: Front, pairs: Sequence[TextExample], max_query: int
) -> list[NDArray[np.float64]]:
    """For each pair the scores of its options after the front, float64 [options].

    A score is the mean log-likelihood per token, in nats. A query longer than `max_query` tokens
    loses its beginning. Raises InputError for a pair without options.
    """
    jobs: list[tuple[int, int, Continuation]] = []
    one_pass: dict[int, list[int]] = {}
    for place, pair in enumerate(pairs):
        if not pair.options:
            raise InputError("a task to test on needs options for each input")
        tokens = [token_ids(lm.text_tokenizer, option, special=False) for option in pair.options]
        asked: Sequence[str] = pair.options
        if all(len(ids) == 1 for ids in tokens):  # one look at the next token answers for all
            one_pass[place] = [ids[0] for ids in tokens]
            asked = pair.options[:1]
        for number, option in enumerate(asked):
            candidate = TextExample(pair.prompt, option, pair.options)
            jobs.append((place, number, query_ids(lm.text_tokenizer, candidate, max_query)))
    scores = [np.zeros(len(pair.options)) for pair in pairs]
    lengths = [len(continuation.ids) for _, _, continuation in jobs]
    for some in batches(lengths, _BATCH, tokens=None, longest_first=True):
        batch = [jobs[number] for number in some]
        logits, targets, _ = next_token_logits(lm, front, [job[2] for job in batch], True)
        log_probabilities = torch.log_softmax(logits, dim=-1).cpu()
        chosen = log_probabilities[torch.arange(len(targets)), targets.cpu()].double().numpy()
        done = 0
        for place, number, continuation in batch:
            if place in one_pass:
                scores[place] = log_probabilities[done][one_pass[place]].double().numpy()
            else:
                scores[place][number] = chosen[done : done + continuation.answer_length].mean()
            done += continuation.answer_length
    return scores


def accuracies(
    scores: Sequence[NDArray[np.float64]],
    pairs: Sequence[TextExample],
    reference: Sequence[NDArray[np.float64]],
) -> tuple[float, float | None]:
    """(accuracy of `scores`, each [options]; the same after label calibration, or None).

    Label calibration takes off each option's mean over `reference`, the scores of inputs whose
    labels nobody saw. It is None where the options are not the same for every input, and where
    there is no reference.
    """
    truth = np.array([pair.options.index(pair.answer) for pair in pairs])
    plain = float(np.mean([row.argmax() for row in scores] == truth))
    if len({pair.options for pair in pairs}) > 1 or not reference:
        return plain, None
    calibrated = calibrate_labels(np.stack(scores), label_calibration(np.stack(reference)))
    return plain, float(np.mean(calibrated.argmax(-1) == truth))
