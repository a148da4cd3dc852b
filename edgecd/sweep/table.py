"""What the cells of a sweep come to: means over seeds, paired differences, costs; as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgecd.tasks.metrics import bootstrap_interval

Record = Mapping[str, Any]
NONE = "-"
_ORDER = ("zero-shot", "icl", "pbft", "cd")


def system_name(record: Record, calibrated: bool = True) -> str:
    """What a row is called: method, model or adapter, and what is not the usual."""
    name = f"{record['kind']} {record['model'] or record['adapter']}"
    if record["head"] == "vocabulary":
        name += ", vocabulary head"
    return name if calibrated else f"{name}, uncalibrated"


def aggregate(records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """`accuracy`, `differences` and `cost` of the cells that are done, over their seeds.

    The result depends on the cells' results alone, not on the order in which they came.
    """
    done = [record for record in records if record["status"] == "done"]
    answering = sorted(
        (record for record in done if record["kind"] != "scores"),
        key=lambda r: (
            _ORDER.index(r["kind"]),
            r["model"] or "",
            r["adapter"] or "",
            r["head"] or "",
        ),
    )
    return {
        "accuracy": _accuracy(answering),
        "differences": _differences(answering),
        "cost": _cost(answering, {record["name"]: record for record in done}),
    }


def mean_sd(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation (None for one value) and number of values."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "n": len(values)}


def paired_difference(
    ours: Sequence[Record], theirs: Sequence[Record], name: str
) -> dict[str, Any] | None:
    """Accuracy of `ours` minus that of `theirs` on the set `name`, over the seeds that both have.

    Each example's difference is averaged over the seeds first; the 95% interval is a paired
    bootstrap over examples, so it tells of other examples, not of other demonstrations.
    """
    mine, other = ({r["seed"]: _right(r, name) for r in some} for some in (ours, theirs))
    seeds = sorted(set(mine) & set(other))
    if not seeds:
        return None
    gaps = np.mean([mine[seed] - other[seed] for seed in seeds], axis=0)
    low, high = bootstrap_interval(gaps)
    return {
        "difference": float(gaps.mean()),
        "ci95": [low, high],
        "seeds": len(seeds),
        "examples": len(gaps),
    }


def render(result: Mapping[str, Any]) -> str:
    """The sweep as Markdown: accuracy, differences, cost, notes."""
    suite, cells, found = result["suite"], result["cells"], result["aggregates"]
    finished = sum(cell["status"] in ("done", "skipped") for cell in cells)
    sets = _set_names(cells)
    parts = [
        f"# Sweep {suite['name']}",
        f"Teacher `{suite['teacher']}`, student `{suite['student']}`, task `{suite['task']}`, "
        f"seeds {', '.join(map(str, suite['seeds']))}. {finished} of {len(cells)} cells finished.",
        "## Accuracy",
        "Mean ± standard deviation over seeds (number of seeds).",
        _markdown(
            ["system", "shots", *sets],
            [
                [row["system"], str(row["shots"]), *(_spread(row["sets"].get(s)) for s in sets)]
                for row in found["accuracy"]
            ],
        ),
        "## Differences",
        "Accuracy minus that of the other system, with its 95% interval (paired bootstrap over "
        "examples, after averaging over the seeds that both have).",
        _markdown(
            ["system", "against", "shots", *sets],
            [
                [
                    row["system"],
                    row["against"],
                    str(row["shots"]),
                    *(_gap(row["sets"].get(s)) for s in sets),
                ]
                for row in found["differences"]
            ],
        ),
        "## Cost",
        "Means over seeds. `above loaded`: the peak while training less what was resident with "
        "the model loaded; `peak`: of the whole training process. The teacher's scores are made "
        "once for all students, in a process of their own.",
        _markdown(*_cost_cells(found["cost"])),
    ]
    if notes := _notes(cells):
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _accuracy(records: Sequence[Record]) -> list[dict[str, Any]]:
    rows = []
    for (name, shots), group in _grouped(records).items():
        for key in ("sets", "sets_uncalibrated"):
            having = [record for record in group if key in record]
            if not having:
                continue
            sets = {}
            for set_name in having[0][key]:
                figures = [record[key][set_name] for record in having]
                sets[set_name] = {
                    **mean_sd([one["accuracy"] for one in figures]),
                    "macro_f1_mean": float(np.mean([one["macro_f1"] for one in figures])),
                    "examples": figures[0]["examples"],
                }
            calibrated = key == "sets"
            rows.append(
                {
                    "system": name if calibrated else system_name(having[0], calibrated=False),
                    **{k: having[0][k] for k in ("kind", "model", "adapter", "head")},
                    "calibrated": calibrated,
                    "shots": shots,
                    "sets": sets,
                }
            )
    return rows


def _differences(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Each `cd` against `pbft` with the same adapter, as commonly done, and same-size `icl`."""
    groups = _grouped(records)
    rows = []
    for (name, shots), ours in groups.items():
        for (other, other_shots), theirs in groups.items():
            one, two = ours[0], theirs[0]
            alike = two["adapter"] == one["adapter"] or two["head"] == "vocabulary"
            rival = two["kind"] == "pbft" and alike
            rival |= two["kind"] == "icl" and two["model"] == "student"
            if one["kind"] != "cd" or shots != other_shots or not rival:
                continue
            gaps = {s: paired_difference(ours, theirs, s) for s in one["sets"] if s in two["sets"]}
            sets = {set_name: gap for set_name, gap in gaps.items() if gap}
            if sets:
                rows.append({"system": name, "against": other, "shots": shots, "sets": sets})
    return rows


def _cost(records: Sequence[Record], by_name: Mapping[str, Record]) -> list[dict[str, Any]]:
    trained = [record for record in records if record["kind"] in ("cd", "pbft")]
    rows = []
    for (name, shots), group in _grouped(trained).items():
        scores = [by_name[r["scores"]] for r in group if r["scores"] in by_name]

        def mean(value: Callable[[Record], float | None], of: Sequence[Record]) -> float | None:
            values = [found for one in of if (found := value(one)) is not None]
            return float(np.mean(values)) if values else None

        rows.append(
            {
                "system": name,
                **{k: group[0][k] for k in ("kind", "adapter", "head")},
                "shots": shots,
                "n": len(group),
                "steps": mean(lambda r: r["steps"], group),
                "trainable_parameters": group[0]["trainable_parameters"],
                "training_s": mean(lambda r: r["seconds"]["training"], group),
                "scoring_s": mean(lambda r: r["seconds"]["scoring"], scores),
                "above_loaded_bytes": mean(lambda r: _above(r, "rss"), group),
                "peak_rss_bytes": mean(lambda r: r["memory"]["peak_rss_bytes"], group),
                "scoring_peak_rss_bytes": mean(
                    lambda r: r["memory"]["scoring_peak_rss_bytes"], scores
                ),
                "above_loaded_gpu_bytes": mean(lambda r: _above(r, "gpu"), group),
                "training_peak_gpu_bytes": mean(
                    lambda r: r["memory"]["training_peak_gpu_bytes"], group
                ),
            }
        )
    return rows


def _above(record: Record, kind: str) -> float | None:
    peak = record["memory"][f"training_peak_{kind}_bytes"]
    loaded = record["memory"][f"loaded_{kind}_bytes"]
    return None if peak is None or loaded is None else max(0.0, float(peak) - loaded)


def _grouped(records: Sequence[Record]) -> dict[tuple[str, int], list[Record]]:
    """Records by system and shots, seeds in order; systems keep the order of `records`."""
    groups: dict[str, dict[int, list[Record]]] = {}
    for record in records:
        by_shots = groups.setdefault(system_name(record), {})
        by_shots.setdefault(record["shots"], []).append(record)
    return {
        (name, shots): sorted(by_shots[shots], key=lambda record: record["seed"])
        for name, by_shots in groups.items()
        for shots in sorted(by_shots)
    }


def _right(record: Record, name: str) -> Any:
    figures = record["sets"][name]
    return np.equal(figures["predictions"], figures["expected"]).astype(float)


def _set_names(cells: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.get("sets", {})))


def _spread(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return NONE
    sd = "" if value["sd"] is None else f" ± {value['sd']:.3f}"
    return f"{value['mean']:.3f}{sd} ({value['n']})"


def _gap(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return NONE
    low, high = value["ci95"]
    return f"{value['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _cost_cells(rows: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("trains", "trainable_parameters", lambda v: f"{v:,}"),
        ("steps", "steps", lambda v: f"{v:.0f}"),
        ("training s", "training_s", lambda v: f"{v:.1f}"),
        ("scoring s", "scoring_s", lambda v: f"{v:.1f}"),
        ("above loaded MB", "above_loaded_bytes", _megabytes),
        ("peak MB", "peak_rss_bytes", _megabytes),
        ("scoring peak MB", "scoring_peak_rss_bytes", _megabytes),
        ("GPU above loaded MB", "above_loaded_gpu_bytes", _megabytes),
        ("GPU peak MB", "training_peak_gpu_bytes", _megabytes),
    ]
    shown = [one for one in columns if any(row[one[1]] is not None for row in rows)]
    cells = [
        [
            row["system"],
            str(row["shots"]),
            *(NONE if row[key] is None else write(row[key]) for _, key, write in shown),
        ]
        for row in rows
    ]
    return ["system", "shots", *(name for name, _, _ in shown)], cells


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f}"


def _notes(cells: Sequence[Record]) -> list[str]:
    skipped: dict[str, list[str]] = {}
    for cell in cells:
        if cell["status"] == "skipped":
            skipped.setdefault(f"{system_name(cell)}: {cell['skipped']}", []).append(cell["name"])
    notes = [f"skipped: {why} ({len(names)} cells)" for why, names in skipped.items()]
    for cell in cells:
        if cell["status"] == "failed":
            last = " ".join(cell["last_words"][-1:])
            notes.append(f"failed: {cell['name']}, its process {cell['ending']}: {last}")
    return notes


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Nothing yet."
    right = [":--" if place == 0 else "--:" for place in range(len(header))]
    lines = [header, right, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
