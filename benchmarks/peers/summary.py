"""From raw times and logits to the figures of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rounds = Sequence[Sequence[float]]


def latency(rounds: Rounds, against: Rounds | None) -> dict[str, Any]:
    """p50 and p95 of all calls, milliseconds, and the ratio to another system.

    The ratio is the median over rounds of the quotient of the two systems' medians in the same
    round, so that what disturbs the machine for a while disturbs both sides.
    """
    calls = np.concatenate([np.asarray(one, np.float64) for one in rounds])
    ratio = None
    if against is not None:
        pairs = zip(rounds, against, strict=True)
        ratio = float(np.median([np.median(ours) / np.median(theirs) for ours, theirs in pairs]))
    return {
        "p50": float(np.median(calls)),
        "p95": float(np.percentile(calls, 95)),
        "ratio": ratio,
        "raw": [list(one) for one in rounds],
    }


def quality(
    logits: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]] | None,
    gold: Sequence[int],
) -> dict[str, Any]:
    """Accuracy over labelled examples; flips and the largest logit difference to the reference."""
    rows, columns = np.asarray(logits, np.float64), np.asarray(gold)
    answers, labelled = rows.argmax(axis=-1), columns >= 0
    figures: dict[str, Any] = {
        "examples": len(rows),
        "accuracy": float((answers == columns)[labelled].mean()) if labelled.any() else None,
        "label_flips": None,
        "max_abs_logit_diff": None,
    }
    if reference is not None:
        right = np.asarray(reference, np.float64)
        wrong = (answers != right.argmax(axis=-1)) | ~np.isfinite(rows).all(axis=-1)
        figures["label_flips"] = int(wrong.sum())
        figures["max_abs_logit_diff"] = float(np.abs(rows - right).max())
    return figures


def table(rows: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> str:
    """Markdown for people; skipped systems below, each with its reason."""
    heads = ["system", *(f"{length} tokens, p50 / p95 ms (ratio)" for length in lengths)]
    heads += ["accuracy", "flips", "load ms", "memory MB", "disk MB"]
    lines = [" | ".join(heads), " | ".join(["---", *["---:"] * (len(heads) - 1)])]
    for row in rows:
        if "skipped" not in row:
            lines.append(" | ".join(_cells(row, lengths)))
    text = "\n".join(f"| {line} |" for line in lines)
    skipped = [
        f"- {row['system']} was left out: {row['skipped']}" for row in rows if "skipped" in row
    ]
    return "\n".join([text, *([""] if skipped else []), *skipped])


def _cells(row: Mapping[str, Any], lengths: Sequence[int]) -> list[str]:
    cells = [row["system"]]
    for length in lengths:
        took = row["latency_ms"][str(length)]
        cells.append(f"{took['p50']:.1f} / {took['p95']:.1f} ({took['ratio']:.2f})")
    figures = row["quality"]
    accuracy = figures and figures["accuracy"]
    flips = figures["label_flips"] if figures else None
    cells += [
        "" if accuracy is None else f"{accuracy:.3f}",
        "" if flips is None else f"{flips}/{figures['examples']}",
        f"{row['load_ms']:.0f}",
        f"{row['peak_rss_bytes'] / 1e6:.0f}",
        f"{row['disk_bytes'] / 1e6:.0f}",
    ]
    return cells
