"""What a test of contexts came to: means over tasks and seeds, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean, stdev

import numpy as np

from edgecd.contexts.meta_record import (
    MetaRow,
    MetaTestResult,
    Summary,
    SystemDifference,
    SystemSummary,
)
from edgecd.tasks.metrics import paired_difference

APART = 0.005  # less is noise, and a share of it would mean nothing


def summarize(rows: Sequence[MetaRow], floor: str, ceiling: str, rival: str) -> Summary:
    """Systems with their mean accuracy, its spread over seeds, and by task; every row besides.

    `differences` are those from `floor`, `ceiling` and `rival`, paired by task and seed, with 95%
    intervals over these pairs.

    `share_of_icl` says how far a system gets from the system `floor` (0) to `ceiling` (1); it is
    None where those two are not apart; `ceiling` is of as many demonstrations. The calibrated
    accuracy counts where there is one.
    """
    systems = []
    for name, shots in dict.fromkeys((row.system, row.shots) for row in rows):
        own = [row for row in rows if (row.system, row.shots) == (name, shots)]
        systems.append(
            SystemSummary(
                system=name,
                shots=shots,
                accuracy=mean(row.counted for row in own),
                accuracy_uncalibrated=mean(row.accuracy for row in own),
                accuracy_sd_over_seeds=_spread(own),
                positions=mean(row.positions for row in own),
                tasks={
                    task: mean(row.counted for row in own if row.task == task)
                    for task in dict.fromkeys(row.task for row in own)
                },
            )
        )
    low = next((one.accuracy for one in systems if one.system == floor), None)
    high = {one.shots: one.accuracy for one in systems if one.system == ceiling}
    for place, system in enumerate(systems):
        top = high.get(system.shots or max(high, default=0))
        if low is not None and top is not None and top - low > APART:
            share = (system.accuracy - low) / (top - low)
            systems[place] = replace(system, share_of_icl=share)
    differences = _differences(rows, (floor, ceiling, rival))
    return Summary(tuple(systems), tuple(differences), tuple(rows))


def table(result: MetaTestResult) -> str:
    """Markdown: a row for each system, a column for each task."""
    asked = result.asked
    lines = [
        f"# {asked.partition}",
        "",
        f"{asked.language_model.name}, seeds {', '.join(map(str, asked.seeds))}, "
        f"{asked.limit} queries of each task. Accuracy "
        "after calibration where the options are the same for every input; `sd` is over seeds; "
        "`of ICL` is the way from zero-shot (0) to all demonstrations in the context (1).",
        "",
        f"| system | shots | positions | {' | '.join(asked.tasks)} | mean | sd | of ICL |",
        "|---|---:|---:|" + "---:|" * (len(asked.tasks) + 3),
    ]
    for system in result.found.systems:
        cells = [
            f"{system.tasks[task]:.3f}" if task in system.tasks else "" for task in asked.tasks
        ]
        share, spread = system.share_of_icl, system.accuracy_sd_over_seeds
        lines.append(
            f"| {system.system} | {system.shots} | {system.positions:.0f} | "
            f"{' | '.join(cells)} | "
            f"{system.accuracy:.3f} | {'' if spread is None else f'{spread:.3f}'} | "
            f"{'' if share is None else f'{share:.2f}'} |"
        )
    lines += [
        "",
        "Differences in points, paired by task and seed, with 95% intervals over those pairs:",
        "",
        "| system | shots | against | difference | ahead |",
        "|---|---:|---|---:|---:|",
    ]
    for one in result.found.differences:
        low, high = (100 * end for end in one.accuracy.ci95)
        lines.append(
            f"| {one.system} | {one.shots} | {one.against} | "
            f"{100 * one.accuracy.difference:+.1f} [{low:+.1f}, {high:+.1f}] | "
            f"{one.ahead} of {one.pairs} |"
        )
    return "\n".join(lines) + "\n"


def _differences(rows: Sequence[MetaRow], baselines: Sequence[str]) -> Iterator[SystemDifference]:
    """Every other system against each baseline, after as many demonstrations (or none)."""
    by_system: dict[tuple[str, int], dict[tuple[str, int], float]] = {}
    for row in rows:
        place = by_system.setdefault((row.system, row.shots), {})
        place[row.task, row.seed] = row.counted
    for (name, shots), own in by_system.items():
        for baseline in baselines:
            theirs = by_system.get((baseline, shots)) or by_system.get((baseline, 0), {})
            common = sorted(own.keys() & theirs.keys())
            if name in baselines or not common:
                continue
            gaps = np.array([own[key] - theirs[key] for key in common])
            found, ahead = paired_difference(gaps), int((gaps > 0).sum())
            yield SystemDifference(name, shots, baseline, found, ahead, len(common))


def _spread(rows: Sequence[MetaRow]) -> float | None:
    """Standard deviation over seeds of the mean over tasks; None for one seed."""
    seeds = sorted({row.seed for row in rows})
    if len(seeds) < 2:
        return None
    return stdev(mean(row.counted for row in rows if row.seed == seed) for seed in seeds)
