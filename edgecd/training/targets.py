"""What the student learns from: the teacher's label scores over several contexts, made comparable.

Each input is scored after few of the contexts, so that many contexts cost what one does. Labelled
examples are scored after the contexts that leave them out: they tell what the teacher is worth.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.formats.kinds import is_encoder
from edgecd.lm.models import find_model, load_model_config, pick_dtype
from edgecd.lm.scorer import DeferredScorer
from edgecd.lm.scores import Progress, score_examples
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.metrics import log_softmax
from edgecd.tasks.task import Example
from edgecd.training import committee
from edgecd.training.calibration import (
    Calibration,
    estimate_calibration,
    fit_calibration,
    match_shares,
    parse_shares,
)
from edgecd.training.examples import Examples
from edgecd.training.run import Session

SCORING_BATCH = {"cpu": 8, "cuda": 64}
# A context's own head start counts as much as that of all contexts when so many texts tell it.
_PRIOR_TEXTS = 20
# After so many of the contexts that leave it out a labelled example is scored.
_LEFT_OUT_CONTEXTS = 2


@dataclass(frozen=True)
class Targets:
    """The teacher's label log-probabilities [examples, labels] for each role, by id.

    `class_shares` are those that the calibration found or was given, by label; None without one.
    """

    by_id: dict[str, NDArray[np.float32]]
    heldout: NDArray[np.float32]
    heldout_uncalibrated: NDArray[np.float32]
    fingerprints: tuple[str, ...]
    class_shares: Mapping[str, float] | None


@dataclass(frozen=True)
class DrawnScores:
    """A teacher's log-probabilities [examples, contexts, labels]; NaN where it was not asked."""

    values: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over the contexts that each example was scored after, [examples, labels].

        NaN for an example without any.
        """
        asked = ~np.isnan(self.values[..., :1])
        total = np.where(asked, self.values, 0).sum(axis=1, dtype=np.float64)
        times = asked.sum(axis=1)
        mean: NDArray[np.float64] = np.full_like(total, np.nan)
        np.divide(total, times, out=mean, where=times > 0)
        return mean

    def without_head_starts(self, inputs: int) -> DrawnScores:
        """The same as if every context gave each label the same head start.

        Measured on the first `inputs` examples; where few of them were scored after a context,
        mostly on those of all contexts.
        """
        asked = ~np.isnan(self.values[:inputs, :, :1])
        seen = np.where(asked, self.values[:inputs], 0)
        overall = seen.sum(axis=(0, 1)) / asked.sum()
        head_starts = (seen.sum(axis=0) + _PRIOR_TEXTS * overall) / (
            asked.sum(axis=0) + _PRIOR_TEXTS
        )
        return DrawnScores(self.values - (head_starts - overall).astype(np.float32))


def score_all(session: Session, examples: Examples) -> Targets:
    """The targets of every role; the teacher is loaded if some of its scores are missing.

    Raises InputError for class shares that are not the task's.
    """
    config, labels = session.config, session.task.labels
    shares = parse_shares(config.class_shares, len(labels))
    # Ids are unique within a split only: other roles' get a mark of their own.
    held = [dataclasses.replace(e, id=f"heldout/{e.id}") for e in examples.heldout]
    inputs = (*examples.transfer, *examples.monitor, *held)
    seen = len(examples.transfer) + len(examples.monitor)
    scores, marks = _ask_teacher(session, examples, inputs)
    plain = scores.mean[: len(inputs)]
    shown = None
    if config.calibrate:
        even = scores.without_head_starts(seen).mean
        sources = [even[: len(inputs)]]
        left_out = [even[len(inputs) :]]
        if config.committee and len(examples.labelled) and _is_encoder(config.student):
            second, second_left_out = _second_opinions(session, examples, inputs)
            sources.append(second)
            left_out.append(second_left_out)
        found = _calibrate([one[:seen] for one in sources], left_out, examples, labels, shares)
        table = found.apply(*sources)
        shown = dict(zip(labels, found.shares.round(4).tolist(), strict=True))
        told = ", ".join(f"{name} {share:.0%}" for name, share in shown.items())
        session.reporter.say(f"class shares ({config.class_shares}): {told}")
    else:
        table = log_softmax(plain)
    single = table.astype(np.float32)
    by_id = {one.id: row for one, row in zip(inputs[:seen], single[:seen], strict=True)}
    uncalibrated = log_softmax(plain[seen:]).astype(np.float32)
    return Targets(by_id, single[seen:], uncalibrated, marks, shown)


def contexts_of(name: str, count: int, each: int) -> list[int]:
    """Which of `count` contexts an input is scored after: `each` of them, by its id alone."""
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return [(first + place) % count for place in range(min(each, count))]


def _ask_teacher(
    session: Session, examples: Examples, inputs: Sequence[Example]
) -> tuple[DrawnScores, tuple[str, ...]]:
    """Scores of the inputs and then of the labelled examples, and what tells them from others.

    Its time and memory are the phase `scoring` of the account, which is not there when every
    score was cached.
    """
    config, device, account = session.config, session.device, session.account
    files = find_model(config.teacher, device, pick_dtype(config.dtype, device))
    scorer = DeferredScorer(files, session.task.template)
    folder = Path(config.scores) if config.scores else session.out / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    labelled = [dataclasses.replace(e, id=f"labelled/{e.id}") for e in examples.labelled]
    everyone = [*inputs, *labelled]
    count = len(examples.contexts)
    own = [contexts_of(one.id, count, config.draws_per_text) for one in inputs]
    own += [_without(one, examples.contexts) if config.calibrate else [] for one in labelled]
    asked = [
        [place for place, drawn in enumerate(own) if number in drawn] for number in range(count)
    ]
    progress, total, before = session.progress("teacher scores"), sum(map(len, asked)), 0
    values = np.full((len(everyone), count, len(session.task.labels)), np.nan, np.float32)
    marks, shortened = [], 0
    with account.phase("scoring", counts=lambda: scorer.is_loaded):
        for number, context in enumerate(examples.contexts):
            places = asked[number]
            scores, cut = score_examples(
                scorer,
                context,
                [everyone[place] for place in places],
                config.max_length,
                folder,
                SCORING_BATCH[device.type],
                partial(_report, progress, before, total),
                session.reporter.say,
            )
            before += len(places)
            values[places, number] = scores.log_probabilities
            marks.append(scores.fingerprint)
            shortened += cut
    if shortened:
        session.reporter.say(f"{shortened} inputs were shortened to fit")
    return DrawnScores(values), tuple(marks)


def _report(progress: Progress, before: int, total: int, done: int, of: int) -> None:
    """A part's progress as that of the whole."""
    del of
    progress(before + done, total)


def _without(example: Example, contexts: Sequence[Demonstrations]) -> list[int]:
    """Some of the contexts that do not show an example; of another example, maybe others."""
    found = [
        number
        for number, context in enumerate(contexts)
        if all(one.fields != example.fields for one in context)
    ]
    start = contexts_of(example.id, max(1, len(found)), 1)[0]
    return [*found[start:], *found[:start]][:_LEFT_OUT_CONTEXTS]


def _second_opinions(
    session: Session, examples: Examples, inputs: Sequence[Example]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of the inputs and, left out, of the labelled examples.

    They come from a classifier over the embeddings of the student before it is trained.
    """
    config, labels = session.config, session.task.labels
    count, labelled = len(inputs), examples.labelled
    from edgecd.lm.text_encoder import open_encoder, sentence_embeddings

    encoder = open_encoder(
        config.student, session.task.template, config.max_length, session.device.type
    )
    session.reporter.say("a second opinion from the student's embeddings")
    progress = session.progress("second opinion")
    fields = [one.fields for one in (*inputs, *labelled)]
    embeddings = sentence_embeddings(encoder, fields, progress)
    return (
        committee.opinions(embeddings, labelled, labels, count),
        committee.left_out_opinions(embeddings[count:], labelled, labels, examples.contexts),
    )


def _is_encoder(student: str) -> bool:
    return is_encoder(load_model_config(student))


def _calibrate(
    sources: Sequence[NDArray[np.float64]],
    left_out: Sequence[NDArray[np.float64]],
    examples: Examples,
    labels: Sequence[str],
    shares: NDArray[np.float64] | None,
) -> Calibration:
    """Fitted where labelled examples were left out; else by the given shares, or even ones."""
    known = ~np.isnan(np.stack(left_out)).any(axis=(0, -1))
    if not known.any():
        return match_shares(
            sources, np.full(len(labels), 1 / len(labels)) if shares is None else shares
        )
    columns = np.array([labels.index(str(one.label)) for one in examples.labelled])
    left_out = [one[known] for one in left_out]
    if shares is None:
        return estimate_calibration(sources, left_out, columns[known])
    return fit_calibration(sources, left_out, columns[known], shares)
