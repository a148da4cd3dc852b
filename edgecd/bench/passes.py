"""The passes of a benchmark: convert what must be, ask every system once, then time it in rounds.

Each step is a process of its own, and its result is kept at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.bench import peers
from edgecd.bench.ledger import Kept
from edgecd.bench.measure import PROMPT_MODELS, measure, run
from edgecd.bench.plan import conversion_specs
from edgecd.bench.report.rows import Measured
from edgecd.bench.systems.choose import System
from edgecd.host.machine import load_average

EVALUATION = "evaluation"


def convert(
    systems: Sequence[System],
    specs: Mapping[str, Mapping[str, Any]],
    kept: Kept,
    folder: Path,
    rounds: int,
    progress: Callable[[str], None],
) -> None:
    """Make the files of the converted systems that have still something to be measured."""
    parts = [EVALUATION, *_round_names(rounds)]
    waiting = [
        system
        for system in systems
        if system.converted
        and not (folder / system.name).is_dir()
        and not _is_done(system, kept, parts)
    ]
    for spec in conversion_specs(waiting, specs, folder):
        names = list(spec["systems"])
        progress(f"making the {spec['precision']} graphs of {', '.join(names)}")
        threads = specs[names[0]]["threads"]
        for name, why in measure(names[0], spec, threads, PROMPT_MODELS).items():
            if why is not None:
                kept.write(name, EVALUATION, {"skipped": why})
    for system in waiting:
        if system.kind != "peer":
            continue
        progress(f"converting the checkpoint for {system.name}")
        threads = specs[system.name]["threads"]
        shared = folder / ".shared"  # traces of the checkpoint, which take minutes
        shared.mkdir(parents=True, exist_ok=True)
        places = (system.model, str(folder / system.name))
        words = (system.name, *places, str(threads), str(shared))
        failure = run(peers.__name__, words, threads)
        if failure is not None:
            shutil.rmtree(folder / system.name, ignore_errors=True)
            kept.write(system.name, EVALUATION, {"skipped": failure.splitlines()[-1].strip()})


def _is_done(system: System, kept: Kept, parts: Sequence[str]) -> bool:
    found = {part: kept.read(system.name, part) for part in parts}
    if any(result is not None and "skipped" in result for result in found.values()):
        return True
    needed = [part for part in parts if part != EVALUATION or system.accuracy_from is None]
    return all(found[part] is not None for part in needed)


def measure_all(
    systems: Sequence[System],
    specs: Mapping[str, Mapping[str, Any]],
    kept: Kept,
    folder: Path,
    rounds: int,
    progress: Callable[[str], None],
) -> tuple[list[Measured], list[str]]:
    """Every system's results, measured now or before, and what was left out and why."""

    def result(system: System, part: str, words: str, **asked: Any) -> dict[str, Any]:
        known = kept.read(system.name, part)
        if known is not None:
            return known
        progress(f"{system.name}: {words}")
        spec = {**specs[system.name], **asked}
        if system.converted:
            spec["folder"] = str(folder / system.name)
        before = load_average()
        found = measure(system.name, spec, spec["threads"])
        found["load_average_before"] = before
        kept.write(system.name, part, found)
        return found

    skipped: dict[str, str] = {}
    evaluations: dict[str, dict[str, Any]] = {}
    # Bundles first: they are quick, and what is wrong with them shows at once.
    for system in sorted(systems, key=lambda one: one.kind != "bundle"):
        if system.accuracy_from is not None and kept.read(system.name, EVALUATION) is None:
            continue
        found = result(system, EVALUATION, "evaluation", do="evaluate")
        if "skipped" in found:
            skipped[system.name] = found["skipped"]
        else:
            evaluations[system.name] = found
    timed: dict[str, list[dict[str, Any]]] = {system.name: [] for system in systems}
    for number, part in enumerate(_round_names(rounds), start=1):
        for system in systems:
            if system.name in skipped:
                continue
            found = result(system, part, f"timed, round {number} of {rounds}", do="time")
            if "skipped" in found:
                skipped[system.name] = found["skipped"]
            else:
                timed[system.name].append(found)
    measured = [
        Measured(system, timed[system.name], evaluations.get(system.name))
        for system in systems
        if system.name not in skipped
    ]
    return measured, [f"{name} was left out: {why.rstrip('.')}." for name, why in skipped.items()]


def _round_names(rounds: int) -> list[str]:
    return [f"round-{number}" for number in range(1, rounds + 1)]
