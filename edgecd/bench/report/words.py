"""What a reader must know before believing a number of the report."""

from __future__ import annotations

from collections.abc import Iterator

from edgecd.bench.report.record import Report, Row, SameAnswers, Training
from edgecd.plotting.roles import ZERO_SHOT

# Rounds that differ by more than this are worth a warning.
CALM_SPREAD = 1.25


def notes(report: Report) -> list[str]:
    """Sentences: the machine, the noise, then what is particular to a row."""
    return [machine(report), *_noise(report), *report.notes, *_rows(report), *_how(report)]


def machine(report: Report) -> str:
    """The machine in one sentence."""
    found = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    memory = f", {found.ram_bytes / 2**30:.0f} GiB" if found.ram_bytes else ""
    return (
        f"Machine: {found.cpu}, {found.cores or 'unknown'} cores{memory}, "
        f"GPU {found.gpu or 'none'}, {' '.join(found.isa) or 'no known instruction sets'}"
        f"; {versions}."
    )


def _noise(report: Report) -> Iterator[str]:
    rounds, noise = report.rounds, report.noise
    if not noise:
        return
    text = (
        f"Noise: every system was measured in {rounds} rounds; its slowest round's p50 is "
        f"{noise.p50_spread_median:.2f} times its fastest round's (median over systems), "
        f"{noise.p50_spread_max:.2f} times at most (`{noise.worst}`)."
    )
    if noise.p50_spread_max > CALM_SPREAD:
        text += " Differences of time that are smaller than that may be noise."
    yield text


def _rows(report: Report) -> Iterator[str]:
    """What runs each system, and how; systems of which the same is true share a line."""
    alike: dict[str, list[str]] = {}
    for row in report.rows:
        said = [f"{row.runtime} {row.runtime_version}".strip(), row.precision]
        said += [row.provider] if row.provider else []
        said += [f"{row.threads} threads"] if row.threads else []
        said.append(f"{len(row.latency_ms.raw)} timed calls")
        alike.setdefault(", ".join(said), []).append(f"`{row.system}`")
    for conditions, names in alike.items():
        yield f"{', '.join(names)}: {conditions}."
    if trained := [_training(row.system, row.training) for row in report.rows if row.training]:
        yield f"Training: {'; '.join(trained)}."
    if borrowed := [
        _borrowed(row.system, row.naive_equals_cached)
        for row in report.rows
        if row.naive_equals_cached
    ]:
        yield (
            "A prompt that is read each time takes its accuracy from the cached one; on the "
            f"queries that both were timed on: {'; '.join(borrowed)}."
        )


def _training(system: str, training: Training) -> str:
    text, peak = f"`{system}` {training.seconds:.0f} s", training.peak_rss_bytes
    return f"{text}, {peak / 1e6:.0f} MB of memory at most" if peak else text


def _borrowed(system: str, check: SameAnswers) -> str:
    return (
        f"`{system}` {check.label_mismatches} of {check.examples} labels differ, "
        f"logits by at most {check.max_abs_logit_diff:.2g}"
    )


def _how(report: Report) -> Iterator[str]:
    rows = report.rows
    cores = report.machine.cores
    # The row measured before leaves a load of its own, of at most all cores.
    busy = [row for row in rows if cores and (row.load_average_before or 0) > 1.5 * cores]
    if busy:
        names = ", ".join(f"`{row.system}` (load {row.load_average_before:.1f})" for row in busy)
        yield f"The machine was busy with other work before {names}: do not trust these times."
    crossed = [row for row in rows if row.kind == "bundle" and _other_runtime(report, row)]
    if crossed:
        yield (
            "Prompts run in PyTorch and bundles in onnxruntime, so a ratio between the two "
            f"holds the runtime's part as well; {ZERO_SHOT} (PyTorch, no demonstrations) against "
            "the fp32 bundle shows how large that part is."
        )
    most = max((row.examples for row in rows), default=0)
    if fewer := [row for row in rows if 0 < row.examples < most]:
        yield (
            f"Asked the first {min(row.examples for row in fewer)} examples only, to compare "
            "with the same prompt on the other runtime, which was asked all: "
            + ", ".join(f"`{row.system}`" for row in fewer)
            + "."
        )
    if any(row.calibration_inputs for row in rows):
        yield (
            "Prompts are calibrated: each label's mean log-probability over unlabelled training "
            "inputs is taken off. Without it: "
            + ", ".join(
                f"`{row.system}` {row.accuracy_uncalibrated:.3f}"
                for row in rows
                if row.calibration_inputs and row.accuracy_from is None
            )
            + "."
        )


def _other_runtime(report: Report, row: Row) -> bool:
    """Is it compared with a prompt on another runtime?"""
    names = [pair.system for pair in (row.faster_than.naive, row.faster_than.cached) if pair]
    return any(one.runtime != row.runtime for one in report.rows if one.system in names)
