"""The passes of a benchmark: convert what must be, ask every system once, then time it in rounds.

Each step is a process of its own, and its result is kept at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecd.bench import peers
from edgecd.bench.exchange import Evaluation, Skipped, Spec, Timing, read_result
from edgecd.bench.ledger import PROMPT_MODELS, RIVAL, Ledger, measure, run
from edgecd.bench.plan import conversions, lesson
from edgecd.bench.report.rows import Measured
from edgecd.bench.systems.base import System
from edgecd.console import Reporter
from edgecd.formats.record import to_json
from edgecd.host.machine import load_average

# Of rivals: batches are small, and sums in another order would give another classifier.
TRAINING_THREADS = 1


@dataclass(frozen=True)
class Work:
    """What there is to measure: systems, what each is asked, and where results and files go.

    `folder` takes the files of converted systems.
    """

    systems: Sequence[System]
    specs: Mapping[str, Spec]
    ledger: Ledger
    folder: Path
    rounds: int
    reporter: Reporter


def convert(work: Work) -> None:
    """Make, or train, the converted systems that have still something to be measured."""
    waiting = [
        system
        for system in work.systems
        if system.converted
        and not (work.folder / system.name).is_dir()
        and not work.ledger.is_done(system.name, work.rounds, system.accuracy_from is None)
    ]
    for asked in conversions(waiting, work.specs, work.folder):
        names = list(asked.systems)
        work.reporter.say(f"making the {asked.precision} graphs of {', '.join(names)}")
        threads = work.specs[names[0]].threads
        reasons = measure(names[0], to_json(asked), threads, PROMPT_MODELS)
        for name, why in reasons.items():
            if why is not None:
                work.ledger.keep_evaluation(name, Skipped(why))
    for system in waiting:
        if system.kind == "peer":
            _convert_peer(work, system)
        elif system.kind == "rival":
            _train_rival(work, system)


def _convert_peer(work: Work, system: System) -> None:
    work.reporter.say(f"converting the checkpoint for {system.name}")
    threads = work.specs[system.name].threads
    shared = work.folder / ".shared"  # traces of the checkpoint, which take minutes
    shared.mkdir(parents=True, exist_ok=True)
    places = (system.model, str(work.folder / system.name))
    failure = run(peers.__name__, (system.name, *places, str(threads), str(shared)), threads)
    if failure is not None:
        shutil.rmtree(work.folder / system.name, ignore_errors=True)
        why = failure.splitlines()[-1].strip()
        work.ledger.keep_evaluation(system.name, Skipped(why))


def _train_rival(work: Work, system: System) -> None:
    work.reporter.say(f"training {system.name} on the same labels")
    asked = lesson(work.specs[system.name], work.folder)
    why = measure(system.name, to_json(asked), TRAINING_THREADS, RIVAL)["skipped"]
    if why is not None:
        work.ledger.keep_evaluation(system.name, Skipped(why))


@dataclass
class _Steps:
    """The processes that have still to run, and how many of them did."""

    work: Work
    total: int
    done: int = 0

    def begin(self, line: str) -> None:
        """Say what is measured now."""
        self.work.reporter.say(line)
        self.work.reporter.progress("bench", self.done, self.total)

    def end(self) -> None:
        """One more is measured."""
        self.done += 1
        self.work.reporter.progress("bench", self.done, self.total)


def _steps(work: Work) -> _Steps:
    ledger, total = work.ledger, 0
    for system in work.systems:
        found = ledger.evaluation(system.name)
        if isinstance(found, Skipped):
            continue
        total += found is None and system.accuracy_from is None
        rounds = range(1, work.rounds + 1)
        total += sum(ledger.timing(system.name, number) is None for number in rounds)
    return _Steps(work, total)


def measure_all(work: Work) -> tuple[list[Measured], list[str]]:
    """Every system's results, measured now or before, and what was left out and why."""
    steps = _steps(work)
    skipped: dict[str, str] = {}
    evaluations: dict[str, Evaluation] = {}
    # Bundles first: they are quick, and what is wrong with them shows at once.
    for system in sorted(work.systems, key=lambda one: one.kind != "bundle"):
        if system.accuracy_from is None or work.ledger.evaluation(system.name) is not None:
            answered = _evaluation(work, system, steps)
            if isinstance(answered, Skipped):
                skipped[system.name] = answered.skipped
            else:
                evaluations[system.name] = answered
    timed: dict[str, list[Timing]] = {system.name: [] for system in work.systems}
    for number in range(1, work.rounds + 1):
        for system in work.systems:
            if system.name in skipped:
                continue
            took = _timing(work, system, number, steps)
            if isinstance(took, Skipped):
                skipped[system.name] = took.skipped
            else:
                timed[system.name].append(took)
    measured = [
        Measured(system, timed[system.name], evaluations.get(system.name))
        for system in work.systems
        if system.name not in skipped
    ]
    return measured, [f"{name} was left out: {why.rstrip('.')}." for name, why in skipped.items()]


def _evaluation(work: Work, system: System, steps: _Steps) -> Evaluation | Skipped:
    """What is kept, or what a process answers now."""
    known = work.ledger.evaluation(system.name)
    if known is not None:
        return known
    steps.begin(f"{system.name}: evaluation")
    spec = replace(_spec(work, system), do="evaluate")
    found = read_result(Evaluation, measure(system.name, to_json(spec), spec.threads), system.name)
    work.ledger.keep_evaluation(system.name, found)
    steps.end()
    return found


def _timing(work: Work, system: System, number: int, steps: _Steps) -> Timing | Skipped:
    """What is kept of a round, or what a process takes now."""
    known = work.ledger.timing(system.name, number)
    if known is not None:
        return known
    steps.begin(f"{system.name}: timed, round {number} of {work.rounds}")
    spec = replace(_spec(work, system), do="time")
    before = load_average()
    found = read_result(Timing, measure(system.name, to_json(spec), spec.threads), system.name)
    if isinstance(found, Timing):
        found = replace(found, load_average_before=before)
    work.ledger.keep_timing(system.name, number, found)
    steps.end()
    return found


def _spec(work: Work, system: System) -> Spec:
    folder = str(work.folder / system.name) if system.converted else None
    return replace(work.specs[system.name], folder=folder)
