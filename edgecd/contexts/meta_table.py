"""What a test of contexts came to: means over tasks and seeds, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from edgecd.tasks.metrics import bootstrap_interval

APART = 0.005  # less is noise, and a share of it would mean nothing


def summarize(
    rows: Sequence[Mapping[str, Any]], floor: str, ceiling: str, rival: str
) -> dict[str, Any]:
    """Systems with their mean accuracy, its spread over seeds, and by task; every row besides.

    `differences` are those from `floor`, `ceiling` and `rival`, paired by task and seed, with 95%
    intervals over these pairs.

    `share_of_icl` says how far a system gets from the system `floor` (0) to `ceiling` (1); it is
    None where those two are not apart; `ceiling` is of as many demonstrations. The calibrated
    accuracy counts where there is one.
    """
    systems: list[dict[str, Any]] = []
    for name, shots in dict.fromkeys((row["system"], row["shots"]) for row in rows):
        own = [row for row in rows if (row["system"], row["shots"]) == (name, shots)]
        systems.append(
            {
                "system": name,
                "shots": shots,
                "accuracy": mean(map(counted_accuracy, own)),
                "accuracy_uncalibrated": mean(row["accuracy"] for row in own),
                "accuracy_sd_over_seeds": _spread(own),
                "positions": mean(row["positions"] for row in own),
                "tasks": {
                    task: mean(counted_accuracy(row) for row in own if row["task"] == task)
                    for task in dict.fromkeys(row["task"] for row in own)
                },
            }
        )
    low = next((one["accuracy"] for one in systems if one["system"] == floor), None)
    high = {one["shots"]: one["accuracy"] for one in systems if one["system"] == ceiling}
    for system in systems:
        top = high.get(system["shots"] or max(high, default=0))
        system["share_of_icl"] = None
        if low is not None and top is not None and top - low > APART:
            system["share_of_icl"] = (system["accuracy"] - low) / (top - low)
    return {
        "systems": systems,
        "differences": list(_differences(rows, (floor, ceiling, rival))),
        "rows": [dict(row) for row in rows],
    }


def table(result: Mapping[str, Any]) -> str:
    """Markdown: a row for each system, a column for each task."""
    tasks = list(result["tasks"])
    lines = [
        f"# {result['partition']}",
        "",
        f"{result['language_model']['name']}, seeds {', '.join(map(str, result['seeds']))}, "
        f"{result['limit']} queries of each task. Accuracy "
        "after calibration where the options are the same for every input; `sd` is over seeds; "
        "`of ICL` is the way from zero-shot (0) to all demonstrations in the context (1).",
        "",
        f"| system | shots | positions | {' | '.join(tasks)} | mean | sd | of ICL |",
        "|---|---:|---:|" + "---:|" * (len(tasks) + 3),
    ]
    for system in result["systems"]:
        cells = [
            f"{system['tasks'][task]:.3f}" if task in system["tasks"] else "" for task in tasks
        ]
        share = system["share_of_icl"]
        spread = system["accuracy_sd_over_seeds"]
        lines.append(
            f"| {system['system']} | {system['shots']} | {system['positions']:.0f} | "
            f"{' | '.join(cells)} | "
            f"{system['accuracy']:.3f} | {'' if spread is None else f'{spread:.3f}'} | "
            f"{'' if share is None else f'{share:.2f}'} |"
        )
    lines += [
        "",
        "Differences in points, paired by task and seed, with 95% intervals over those pairs:",
        "",
        "| system | shots | against | difference | ahead |",
        "|---|---:|---|---:|---:|",
    ]
    for one in result["differences"]:
        low, high = (100 * end for end in one["ci95"])
        lines.append(
            f"| {one['system']} | {one['shots']} | {one['against']} | "
            f"{100 * one['difference']:+.1f} [{low:+.1f}, {high:+.1f}] | "
            f"{one['ahead']} of {one['pairs']} |"
        )
    return "\n".join(lines) + "\n"


def _differences(
    rows: Sequence[Mapping[str, Any]], baselines: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Every other system against each baseline, after as many demonstrations (or none)."""
    by_system: dict[tuple[str, int], dict[tuple[str, int], float]] = {}
    for row in rows:
        place = by_system.setdefault((row["system"], row["shots"]), {})
        place[row["task"], row["seed"]] = counted_accuracy(row)
    for (name, shots), own in by_system.items():
        for baseline in baselines:
            theirs = by_system.get((baseline, shots)) or by_system.get((baseline, 0), {})
            common = sorted(own.keys() & theirs.keys())
            if name in baselines or not common:
                continue
            gaps = np.array([own[key] - theirs[key] for key in common])
            yield {
                "system": name,
                "shots": shots,
                "against": baseline,
                "difference": float(gaps.mean()),
                "ci95": list(bootstrap_interval(gaps)),
                "ahead": int((gaps > 0).sum()),
                "pairs": len(common),
            }


def counted_accuracy(row: Mapping[str, Any]) -> float:
    """The calibrated accuracy of a row, or the plain one where there is none."""
    calibrated = row["accuracy_calibrated"]
    return float(row["accuracy"] if calibrated is None else calibrated)


def _spread(rows: Sequence[Mapping[str, Any]]) -> float | None:
    seeds = sorted({row["seed"] for row in rows})
    if len(seeds) < 2:
        return None
    return stdev(
        mean(counted_accuracy(row) for row in rows if row["seed"] == seed) for seed in seeds
    )
