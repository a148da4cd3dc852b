"""What the student learns from: the teacher's label scores, over several contexts, calibrated."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.lm.models import find_model, pick_dtype
from edgecd.lm.scorer import DeferredScorer
from edgecd.lm.scores import score_examples
from edgecd.tasks import metrics
from edgecd.training.examples import Examples
from edgecd.training.run import Session

SCORING_BATCH = {"cpu": 8, "cuda": 64}
# A context's own head start counts as much as that of all contexts when so many texts tell it.
_PRIOR_TEXTS = 20


@dataclass(frozen=True)
class Targets:
    """The teacher's label log-probabilities [examples, labels] for each role, by id."""

    by_id: dict[str, NDArray[np.float32]]
    heldout: NDArray[np.float32]
    heldout_uncalibrated: NDArray[np.float32]
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class DrawnScores:
    """A teacher's log-probabilities, float32 [examples, draws of each, labels].

    `contexts` [examples, draws of each] tells after which context each row of scores was given.
    """

    log_probabilities: NDArray[np.float32]
    contexts: NDArray[np.int64]


def score_all(session: Session, examples: Examples) -> Targets:
    """Score every role, each example after its own contexts; the teacher is loaded if need be.

    Its time and memory are the phase `scoring` of the account, which is not there when every
    score was cached.
    """
    config, device, account = session.config, session.device, session.account
    files = find_model(config.teacher, device, pick_dtype(config.dtype, device))
    scorer = DeferredScorer(files, session.task.template)
    folder = Path(config.scores) if config.scores else session.out / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    # Ids are unique within a split only: held-out ones get a mark of their own.
    held = [dataclasses.replace(e, id=f"heldout/{e.id}") for e in examples.heldout]
    everything = (*examples.transfer, *examples.monitor, *held)
    seen = len(examples.transfer) + len(examples.monitor)
    count = len(examples.contexts)
    drawn = np.array([contexts_of(e.id, count, config.draws_per_text) for e in everything])
    found = np.zeros((*drawn.shape, len(session.task.labels)), np.float32)
    marks, shortened = [], 0
    with account.phase("scoring", counts=lambda: scorer.is_loaded):
        for number, context in enumerate(examples.contexts):
            places, columns = np.nonzero(drawn == number)
            scores, cut = score_examples(
                scorer,
                context,
                [everything[place] for place in places],
                config.max_length,
                folder,
                SCORING_BATCH[device.type],
                session.progress(f"teacher scores ({number + 1}/{count})"),
            )
            found[places, columns] = scores.log_probabilities
            marks.append(scores.fingerprint)
            shortened += cut
    if shortened:
        session.reporter.say(f"{shortened} of {drawn.size} inputs were shortened to fit")
    plain = DrawnScores(found, drawn)
    calibrated = calibrated_by_context(plain, seen, count) if config.calibrate else plain
    table = averaged(calibrated)
    by_id = {example.id: row for example, row in zip(everything[:seen], table[:seen], strict=True)}
    return Targets(by_id, table[seen:], averaged(plain)[seen:], tuple(marks))


def contexts_of(name: str, count: int, each: int) -> list[int]:
    """Which of `count` contexts an example is scored after: `each` of them, by its id alone."""
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return [(first + place) % count for place in range(min(each, count))]


def calibrated_by_context(scores: DrawnScores, seen: int, count: int) -> DrawnScores:
    """Scores without the head start that each label has after each of `count` contexts.

    It is measured on the first `seen` examples, whose labels nobody needs; where few of them were
    scored after a context, mostly on those of all contexts.
    """
    plain, contexts = scores.log_probabilities[:seen], scores.contexts[:seen]
    labels = plain.shape[-1]
    overall = metrics.label_calibration(plain.reshape(-1, labels))
    table = np.zeros_like(scores.log_probabilities)
    for number in range(count):
        own = plain[contexts == number]
        head_start = (own.sum(axis=0) + _PRIOR_TEXTS * overall) / (len(own) + _PRIOR_TEXTS)
        here = scores.contexts == number
        table[here] = metrics.calibrate_labels(scores.log_probabilities[here], head_start)
    return DrawnScores(table, scores.contexts)


def averaged(scores: DrawnScores) -> NDArray[np.float32]:
    """Log of each example's mean probabilities over its draws, float32 [examples, labels]."""
    mean: NDArray[np.float32] = np.log(np.exp(scores.log_probabilities).mean(axis=1))
    return mean
