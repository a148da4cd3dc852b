"""One or two sentences that answer: ship the student, or keep prompting?"""

from __future__ import annotations

from edgecd.bench.report.facts import (
    MARGIN,
    Report,
    Row,
    best_student,
    complete,
    p50_ms,
    prompt_of,
    row_of,
)


def verdict(report: Report) -> str:
    """The answer, from the best student (see `best_student`): its accuracy against the reference's,
    its speed against the teacher's prompt with a cached prefix on the same runtime and precision
    where that was measured."""
    report = complete(report)
    best = best_student(report)
    reference = row_of(report, report["reference"])
    against = best and (prompt_of(report, best, "cached") or prompt_of(report, best, "naive"))
    gap = best and best["accuracy_minus_teacher"]
    if not (best and reference and against and gap):
        return "There is no teacher's prompt to compare with, so this is a measurement, no advice."
    low, high = gap["ci95"]
    if against[1] <= 1:
        answer = "Keep prompting: {0} is not faster than the prompt"
        if against[0]["role"].endswith("cached"):
            answer += " with its prefix cached"
    elif low >= -MARGIN:
        answer = "Ship the student: {0} answers as well as the prompt that it replaces"
    elif high < -MARGIN:
        answer = "Keep prompting where accuracy counts: {0} is less accurate than the prompt"
    elif gap["difference"] >= -MARGIN:
        answer = "Probably ship the student: {0} looks as good as the prompt that it replaces"
    else:
        answer = "Probably keep prompting: {0} looks less accurate than the prompt"
    if low < -MARGIN <= high:
        answer += f", but {best['examples']} examples are too few to be sure"
    sentence = answer.format(f"`{best['system']}`") + (
        f" (accuracy {best['accuracy']:.3f} against {reference['accuracy']:.3f}, difference "
        f"{gap['difference']:+.3f} [{low:+.3f}, {high:+.3f}])."
    )
    return f"{sentence} {_cost(report, best)}"


def _cost(report: Report, best: Row) -> str:
    """Time, memory and disk against the prompts on the same runtime."""
    cached, naive = (prompt_of(report, best, how) for how in ("cached", "naive"))
    times = [
        f"{p50_ms(pair[0]):.1f} ms {words} ({pair[1]:.1f} times as fast{_name(pair[0])})"
        for pair, words in ((cached, "with the prompt cached"), (naive, "with it read each time"))
        if pair
    ]
    text = f"On this machine it takes {p50_ms(best):.1f} ms a query against {' and '.join(times)}"
    prompt, _ = cached or naive or (best, 1.0)
    for key, place in (("peak_rss_bytes", "of memory"), ("disk_bytes", "on disk")):
        if best[key] and prompt[key]:
            text += f", {best[key] / 1e6:.0f} MB {place} against {prompt[key] / 1e6:.0f} MB"
    return f"{text}."


def _name(row: Row) -> str:
    return "" if row["system"] == row["role"] else f", `{row['system']}`"
