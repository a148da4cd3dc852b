"""What the cells of a sweep come to: means over seeds, paired differences, costs; as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.sweep.record import (
    DONE,
    FAILED,
    SKIPPED,
    AccuracyRow,
    Aggregates,
    CellRecord,
    CostRow,
    DifferenceRow,
    SetAnswers,
    SetDifference,
    SetSpread,
    SweepResult,
)
from edgecd.sweep.suite import TRAINED
from edgecd.tasks.metrics import paired_difference, spread

NONE = "-"
_ORDER = ("zero-shot", "icl", "pbft", "cd")


def system_name(record: CellRecord, calibrated: bool = True) -> str:
    """What a row is called: method, model or adapter, and what is not the usual."""
    name = f"{record.kind} {record.model or record.adapter}"
    if record.head == "vocabulary":
        name += ", vocabulary head"
    return name if calibrated else f"{name}, uncalibrated"


def aggregate(records: Sequence[CellRecord]) -> Aggregates:
    """Accuracy, differences and cost of the cells that are done, over their seeds.

    `records` have their answers to each example. The result depends on them alone, not on the order
    in which they came.
    """
    done = [record for record in records if record.status == DONE]
    answering = sorted(
        (record for record in done if record.kind != "scores"),
        key=lambda r: (_ORDER.index(r.kind), r.model or "", r.adapter or "", r.head or ""),
    )
    return Aggregates(
        tuple(_accuracy(answering)),
        tuple(_differences(answering)),
        tuple(_cost(answering, {record.name: record for record in done})),
    )


def set_difference(
    ours: Sequence[CellRecord], theirs: Sequence[CellRecord], name: str
) -> SetDifference | None:
    """Accuracy of `ours` minus that of `theirs` on the set `name`, over the seeds that both have.

    None when there is no such seed. Each example's difference is averaged over the seeds first; the
    95% interval is a paired bootstrap over examples, so it tells of other examples, not of other
    demonstrations.
    """
    mine, other = ({r.seed: _right(r, name) for r in some} for some in (ours, theirs))
    seeds = sorted(set(mine) & set(other))
    if not seeds:
        return None
    gaps = np.mean([mine[seed] - other[seed] for seed in seeds], axis=0)
    return SetDifference(paired_difference(gaps), len(seeds), len(gaps))


def render(result: SweepResult) -> str:
    """The sweep as Markdown: accuracy, differences, cost, notes."""
    suite, cells, found = result.suite, result.cells, result.aggregates
    finished = sum(cell.status in (DONE, SKIPPED) for cell in cells)
    sets = list(dict.fromkeys(name for cell in cells for name in cell.result.sets or {}))
    parts = [
        f"# Sweep {suite.name}",
        f"Teacher `{suite.teacher}`, student `{suite.student}`, task `{suite.task}`, "
        f"seeds {', '.join(map(str, suite.seeds))}. {finished} of {len(cells)} cells finished.",
        "## Accuracy",
        "Mean ± standard deviation over seeds (number of seeds).",
        _markdown(
            ["system", "shots", *sets],
            [
                [row.system, str(row.shots), *(_spread(row.sets.get(name)) for name in sets)]
                for row in found.accuracy
            ],
        ),
        "## Differences",
        "Accuracy minus that of the other system, with its 95% interval (paired bootstrap over "
        "examples, after averaging over the seeds that both have).",
        _markdown(
            ["system", "against", "shots", *sets],
            [
                [
                    row.system,
                    row.against,
                    str(row.shots),
                    *(_gap(row.sets.get(name)) for name in sets),
                ]
                for row in found.differences
            ],
        ),
        "## Cost",
        "Means over seeds. `above loaded`: the peak while training less what was resident with "
        "the model loaded; `peak`: of the whole training process. The teacher's scores are made "
        "once for all students, in a process of their own.",
        _markdown(*_cost_cells(found.cost)),
    ]
    if notes := _notes(cells):
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _accuracy(records: Sequence[CellRecord]) -> Iterator[AccuracyRow]:
    for (name, shots), group in _grouped(records).items():
        one = group[0]
        for calibrated in (True, False):
            found = [
                sets
                for record in group
                if (sets := record.result.sets if calibrated else record.result.sets_uncalibrated)
            ]
            if found:
                yield AccuracyRow(
                    name if calibrated else system_name(one, calibrated=False),
                    one.kind,
                    one.model,
                    one.adapter,
                    one.head,
                    calibrated,
                    shots,
                    {each: _set_spread([sets[each] for sets in found]) for each in found[0]},
                )


def _set_spread(answers: Sequence[SetAnswers]) -> SetSpread:
    """Of one set, over seeds."""
    f1 = float(np.mean([one.macro_f1 for one in answers]))
    return SetSpread(spread([one.accuracy for one in answers]), f1, answers[0].examples)


def _differences(records: Sequence[CellRecord]) -> Iterator[DifferenceRow]:
    """Each `cd` against `pbft` with the same adapter, as commonly done, and same-size `icl`."""
    groups = _grouped(records)
    for (name, shots), ours in groups.items():
        for (other, other_shots), theirs in groups.items():
            one, two = ours[0], theirs[0]
            alike = two.adapter == one.adapter or two.head == "vocabulary"
            rival = two.kind == "pbft" and alike
            rival |= two.kind == "icl" and two.model == "student"
            if one.kind != "cd" or shots != other_shots or not rival:
                continue
            common = [each for each in one.result.sets or {} if each in (two.result.sets or {})]
            gaps = {each: set_difference(ours, theirs, each) for each in common}
            sets = {each: gap for each, gap in gaps.items() if gap}
            if sets:
                yield DifferenceRow(name, other, shots, sets)


def _cost(records: Sequence[CellRecord], by_name: Mapping[str, CellRecord]) -> Iterator[CostRow]:
    trained = [record for record in records if record.kind in TRAINED]
    for (name, shots), group in _grouped(trained).items():
        own = [record.result for record in group]
        scores = [by_name[one].result for r in group if (one := r.scores or "") in by_name]
        seconds, memory = [one.seconds for one in own], [one.memory for one in own]
        yield CostRow(
            system=name,
            kind=group[0].kind,
            adapter=group[0].adapter,
            head=group[0].head,
            shots=shots,
            n=len(group),
            steps=_mean(one.steps for one in own),
            trainable_parameters=own[0].trainable_parameters,
            training_s=_mean(one.training for one in seconds),
            scoring_s=_mean(one.seconds.scoring for one in scores),
            above_loaded_bytes=_mean(
                _above(one.training_peak_rss_bytes, one.loaded_rss_bytes) for one in memory
            ),
            peak_rss_bytes=_mean(one.peak_rss_bytes for one in memory),
            scoring_peak_rss_bytes=_mean(one.memory.scoring_peak_rss_bytes for one in scores),
            above_loaded_gpu_bytes=_mean(
                _above(one.training_peak_gpu_bytes, one.loaded_gpu_bytes) for one in memory
            ),
            training_peak_gpu_bytes=_mean(one.training_peak_gpu_bytes for one in memory),
        )


def _mean(values: Iterator[float | None]) -> float | None:
    """Of those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _above(peak: int | None, loaded: int | None) -> float | None:
    return None if peak is None or loaded is None else max(0.0, float(peak) - loaded)


def _grouped(records: Sequence[CellRecord]) -> dict[tuple[str, int], list[CellRecord]]:
    """Records by system and shots, seeds in order; systems keep the order of `records`."""
    groups: dict[str, dict[int, list[CellRecord]]] = {}
    for record in records:
        by_shots = groups.setdefault(system_name(record), {})
        by_shots.setdefault(record.shots, []).append(record)
    return {
        (name, shots): sorted(by_shots[shots], key=lambda record: record.seed)
        for name, by_shots in groups.items()
        for shots in sorted(by_shots)
    }


def _right(record: CellRecord, name: str) -> NDArray[np.float64]:
    """1.0 for each example of the set that was answered right, else 0.0, [examples]."""
    answers = (record.result.sets or {})[name]
    return np.equal(answers.predictions or (), answers.expected or ()).astype(float)


def _spread(value: SetSpread | None) -> str:
    if value is None:
        return NONE
    found = value.accuracy
    sd = "" if found.sd is None else f" ± {found.sd:.3f}"
    return f"{found.mean:.3f}{sd} ({found.n})"


def _gap(value: SetDifference | None) -> str:
    if value is None:
        return NONE
    low, high = value.accuracy.ci95
    return f"{value.accuracy.difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def _cost_cells(rows: Sequence[CostRow]) -> tuple[list[str], list[list[str]]]:
    columns: list[tuple[str, Callable[[CostRow], float | None], Callable[[Any], str]]] = [
        ("trains", lambda row: row.trainable_parameters, lambda v: f"{v:,}"),
        ("steps", lambda row: row.steps, lambda v: f"{v:.0f}"),
        ("training s", lambda row: row.training_s, lambda v: f"{v:.1f}"),
        ("scoring s", lambda row: row.scoring_s, lambda v: f"{v:.1f}"),
        ("above loaded MB", lambda row: row.above_loaded_bytes, _megabytes),
        ("peak MB", lambda row: row.peak_rss_bytes, _megabytes),
        ("scoring peak MB", lambda row: row.scoring_peak_rss_bytes, _megabytes),
        ("GPU above loaded MB", lambda row: row.above_loaded_gpu_bytes, _megabytes),
        ("GPU peak MB", lambda row: row.training_peak_gpu_bytes, _megabytes),
    ]
    shown = [one for one in columns if any(one[1](row) is not None for row in rows)]
    cells = [
        [
            row.system,
            str(row.shots),
            *(NONE if (value := of(row)) is None else write(value) for _, of, write in shown),
        ]
        for row in rows
    ]
    return ["system", "shots", *(name for name, _, _ in shown)], cells


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f}"


def _notes(cells: Sequence[CellRecord]) -> list[str]:
    skipped: dict[str, list[str]] = {}
    for cell in cells:
        if cell.status == SKIPPED:
            why = f"{system_name(cell)}: {cell.result.skipped}"
            skipped.setdefault(why, []).append(cell.name)
    notes = [f"skipped: {why} ({len(names)} cells)" for why, names in skipped.items()]
    for cell in cells:
        if cell.status == FAILED and cell.failure is not None:
            last = " ".join(cell.failure.last_words[-1:])
            notes.append(f"failed: {cell.name}, its process {cell.failure.ending}: {last}")
    return notes


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Nothing yet."
    right = [":--" if place == 0 else "--:" for place in range(len(header))]
    lines = [header, right, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
