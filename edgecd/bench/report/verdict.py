"""The answer of a report: ship the student, keep prompting, or take a simple classifier on the same
labels? And what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from edgecd.bench.report.classifiers import (
    Simple,
    Standing,
    best_classifier,
    elsewhere_words,
    gap_words,
)
from edgecd.bench.report.record import Difference, Report, Row
from edgecd.bench.report.selection import (
    MARGIN,
    Against,
    against,
    best_student,
    row_of,
)
from edgecd.plotting.roles import role_of

NO_ADVICE = "There is no teacher's prompt to compare with, so this is a measurement, no advice."


class Answer(Enum):
    """What to do, in words for the student's name, the prompt's, and the simple classifier's."""

    SLOW = "Keep prompting: {0} is not faster than the prompt{1}"
    SHIP = "Ship the student: {0} answers as well as the prompt that it replaces"
    KEEP = "Keep prompting where accuracy counts: {0} is less accurate than the prompt"
    RATHER_SHIP = "Probably ship the student: {0} looks as good as the prompt that it replaces"
    RATHER_KEEP = "Probably keep prompting: {0} looks less accurate than the prompt"
    BETTER = "A simple classifier is better: {2} is more accurate than {0}, from the same labels"
    AS_GOOD = "A simple classifier is as good: {2} answers as well as {0}, from the same labels"
    PERHAPS = (
        "Probably a simple classifier is as good: {2} looks as good as {0}, from the same labels"
    )


_OF_STANDING = {
    Standing.BETTER: Answer.BETTER,
    Standing.AS_GOOD: Answer.AS_GOOD,
    Standing.PERHAPS_AS_GOOD: Answer.PERHAPS,
}
_FOR_PROMPT = (Answer.SLOW, Answer.KEEP, Answer.RATHER_KEEP)


@dataclass(frozen=True)
class Verdict:
    """The answer for the best student, and the rows and numbers behind it.

    `gap` is the student's accuracy minus the reference's; `cached` and `naive` are the teacher's
    prompts that it is compared with, `simple` the classifier on the same labels. `answer` is None
    where there is nothing to compare; `unsure` tells that there were too few examples for it.
    """

    student: Row | None = None
    reference: Row | None = None
    gap: Difference | None = None
    cached: Against | None = None
    naive: Against | None = None
    answer: Answer | None = None
    unsure: bool = False
    simple: Simple | None = None

    @property
    def against(self) -> Against | None:
        """The prompt whose speed and size count: the cached one, where it was measured."""
        return self.cached or self.naive

    @property
    def for_classifier(self) -> bool:
        """Whether the answer is to take the simple classifier."""
        return self.answer in _OF_STANDING.values()


def judge(report: Report) -> Verdict:
    """Judge the best student (see `best_student`): its accuracy against the reference's, its speed
    against the teacher's prompt with a cached prefix on the same runtime and precision where that
    was measured. Then weigh the simple classifiers that learned from the same labels: one that is
    as accurate as the student, by the same margin, is the answer, but where the prompt is to be
    kept, which it must match as well."""
    best = best_student(report)
    if best is None:
        return Verdict()
    return _with_classifier(_against_prompt(report, best), best_classifier(report, best))


def _against_prompt(report: Report, best: Row) -> Verdict:
    cached, naive = against(report, best, "cached"), against(report, best, "naive")
    reference, gap = row_of(report, report.reference), best.accuracy_minus_teacher
    found = cached or naive
    if not (reference and gap and found):
        return Verdict(best, reference, gap, cached, naive)
    low, high = gap.ci95
    if found.ratio <= 1:
        answer = Answer.SLOW
    elif low >= -MARGIN:
        answer = Answer.SHIP
    elif high < -MARGIN:
        answer = Answer.KEEP
    elif gap.difference >= -MARGIN:
        answer = Answer.RATHER_SHIP
    else:
        answer = Answer.RATHER_KEEP
    return Verdict(best, reference, gap, cached, naive, answer, unsure=low < -MARGIN <= high)


def _with_classifier(found: Verdict, simple: Simple | None) -> Verdict:
    if simple is None:
        return found
    answer = _OF_STANDING.get(simple.standing)
    if answer is None or (found.answer in _FOR_PROMPT and not _matches_prompt(simple.row)):
        return replace(found, simple=simple)
    return replace(found, simple=simple, answer=answer, unsure=answer is Answer.PERHAPS)


def _matches_prompt(row: Row) -> bool:
    """Whether it is as accurate as the prompt, within MARGIN, and faster."""
    gap, speed = row.accuracy_minus_teacher, row.faster_than.cached or row.faster_than.naive
    return bool(gap and speed and gap.difference >= -MARGIN and speed.ratio > 1)


def sentence(verdict: Verdict) -> str:
    """The answer, and in brackets and after it what it rests on: a few sentences."""
    answer, found = answer_text(verdict), gap_text(verdict)
    return " ".join([f"{answer} ({found})." if answer else NO_ADVICE, *rest(verdict)])


def answer_text(verdict: Verdict) -> str:
    """The answer alone, without a full stop; empty where there is none."""
    if verdict.answer is None or verdict.student is None:
        return ""
    against, simple = verdict.against, verdict.simple
    cached = against is not None and role_of(against.prompt.role).cached
    text = verdict.answer.value.format(
        f"`{verdict.student.system}`",
        " with its prefix cached" if cached else "",
        f"`{simple.row.system}`" if simple else "",
    )
    if verdict.for_classifier and simple and simple.loses_on:
        text += f", but not out of domain ({', '.join(simple.loses_on)})"
    few = f", but {verdict.student.examples} examples are too few to be sure"
    return text + (few if verdict.unsure else "")


def gap_text(verdict: Verdict) -> str:
    """Both accuracies that the answer compares, and their difference; empty without an answer."""
    best, simple = verdict.student, verdict.simple
    if verdict.answer is None or best is None:
        return ""
    if verdict.for_classifier:
        return _gap(simple.row, best, simple.gap) if simple else ""
    reference, gap = verdict.reference, verdict.gap
    return _gap(best, reference, gap) if reference and gap else ""


def rest(verdict: Verdict) -> list[str]:
    """The sentences behind the answer: what is not said in it, and what all of it costs."""
    cost = [cost_text(verdict)] if verdict.answer and verdict.against else []
    if not verdict.for_classifier:
        return [*cost, *_about_classifier(verdict)]
    best, reference, gap = verdict.student, verdict.reference, verdict.gap
    said = list(_about_answer(verdict))
    if best and reference and gap:
        said.append(f"`{best.system}` next to the prompt: {_gap(best, reference, gap)}.")
    return [*said, *cost]


def cost_text(verdict: Verdict) -> str:
    """A sentence: the student's time, memory and disk against the prompts; empty without any."""
    best, found = verdict.student, verdict.against
    if best is None or found is None:
        return ""
    times = [
        f"{one.prompt.p50_ms:.1f} ms {words} ({one.ratio:.1f} times as fast{_name(one.prompt)})"
        for one, words in (
            (verdict.cached, "with the prompt cached"),
            (verdict.naive, "with it read each time"),
        )
        if one
    ]
    taker = f"`{best.system}`" if verdict.for_classifier else "it"
    text = f"On this machine {taker} takes {best.p50_ms:.1f} ms a query against "
    return f"{text}{' and '.join(times)}{_sizes(best, found.prompt)}."


def _about_answer(verdict: Verdict) -> Iterator[str]:
    """What a classifier that is the answer does elsewhere, and what it costs."""
    best, simple = verdict.student, verdict.simple
    if best is None or simple is None:
        return
    if words := elsewhere_words(simple):
        yield f"{words[0].upper()}{words[1:]}."
    yield (
        f"It takes {simple.row.p50_ms:.1f} ms a query ({simple.row.runtime}) against "
        f"{best.p50_ms:.1f} ms of the student ({best.runtime})"
        f"{_sizes(simple.row, best)}."
    )


def _about_classifier(verdict: Verdict) -> Iterator[str]:
    """How the best classifier stands to the student, where it is not the answer."""
    simple = verdict.simple
    if simple is None or verdict.student is None:
        return
    text = "The best simple classifier on the same labels, "
    text += f"`{simple.row.system}`, has accuracy {simple.row.accuracy or 0:.3f}, difference from "
    text += f"the student {gap_words(simple.gap)}"
    words = elsewhere_words(simple)
    yield f"{text}; {words}." if words else f"{text}."


def _gap(one: Row, other: Row, gap: Difference) -> str:
    return f"accuracy {one.accuracy:.3f} against {other.accuracy:.3f}, difference {gap_words(gap)}"


def _sizes(ours: Row, theirs: Row) -> str:
    """Memory and disk of two rows, as the end of a sentence."""
    text = ""
    for one, other, place in (
        (ours.peak_rss_bytes, theirs.peak_rss_bytes, "of memory"),
        (ours.disk_bytes, theirs.disk_bytes, "on disk"),
    ):
        if one and other:
            text += f", {_megabytes(one)} MB {place} against {_megabytes(other)} MB"
    return text


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.{0 if size_bytes >= 1e6 else 2}f}"


def _name(row: Row) -> str:
    return "" if row.system == row.role else f", `{row.system}`"
