"""The answer of a report: ship the student, or keep prompting? And what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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
    """What to do, in words for the student's name and the prompt's."""

    SLOW = "Keep prompting: {0} is not faster than the prompt{1}"
    SHIP = "Ship the student: {0} answers as well as the prompt that it replaces"
    KEEP = "Keep prompting where accuracy counts: {0} is less accurate than the prompt"
    RATHER_SHIP = "Probably ship the student: {0} looks as good as the prompt that it replaces"
    RATHER_KEEP = "Probably keep prompting: {0} looks less accurate than the prompt"


@dataclass(frozen=True)
class Verdict:
    """The answer for the best student, and the rows and numbers behind it.

    `gap` is the student's accuracy minus the reference's; `cached` and `naive` are the teacher's
    prompts that it is compared with. `answer` is None where there is nothing to compare; `unsure`
    tells that there were too few examples for it.
    """

    student: Row | None = None
    reference: Row | None = None
    gap: Difference | None = None
    cached: Against | None = None
    naive: Against | None = None
    answer: Answer | None = None
    unsure: bool = False

    @property
    def against(self) -> Against | None:
        """The prompt whose speed and size count: the cached one, where it was measured."""
        return self.cached or self.naive


def judge(report: Report) -> Verdict:
    """Judge the best student (see `best_student`): its accuracy against the reference's, its speed
    against the teacher's prompt with a cached prefix on the same runtime and precision where that
    was measured."""
    best = best_student(report)
    if best is None:
        return Verdict()
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


def sentence(verdict: Verdict) -> str:
    """One or two sentences: the answer, and in brackets and after it what it rests on."""
    found = gap_text(verdict)
    if not found:
        return NO_ADVICE
    return f"{answer_text(verdict)} ({found}). {cost_text(verdict)}"


def answer_text(verdict: Verdict) -> str:
    """The answer alone, without a full stop; empty where there is none."""
    if verdict.answer is None or verdict.student is None or verdict.against is None:
        return ""
    cached = role_of(verdict.against.prompt.role).cached
    text = verdict.answer.value.format(
        f"`{verdict.student.system}`", " with its prefix cached" if cached else ""
    )
    few = f", but {verdict.student.examples} examples are too few to be sure"
    return text + (few if verdict.unsure else "")


def gap_text(verdict: Verdict) -> str:
    """Both accuracies and their difference; empty where there is no answer."""
    best, reference, gap = verdict.student, verdict.reference, verdict.gap
    if verdict.answer is None or not (best and reference and gap):
        return ""
    low, high = gap.ci95
    return (
        f"accuracy {best.accuracy:.3f} against {reference.accuracy:.3f}, difference "
        f"{gap.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    )


def cost_text(verdict: Verdict) -> str:
    """A sentence: time, memory and disk against the prompts; empty where there are none."""
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
    text = f"On this machine it takes {best.p50_ms:.1f} ms a query against {' and '.join(times)}"
    for ours, theirs, place in (
        (best.peak_rss_bytes, found.prompt.peak_rss_bytes, "of memory"),
        (best.disk_bytes, found.prompt.disk_bytes, "on disk"),
    ):
        if ours and theirs:
            text += f", {ours / 1e6:.0f} MB {place} against {theirs / 1e6:.0f} MB"
    return f"{text}."


def _name(row: Row) -> str:
    return "" if row.system == row.role else f", `{row.system}`"
