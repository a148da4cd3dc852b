"""Measures one system in a fresh process of its own, and keeps what was measured on disk.

A benchmark that was stopped goes on with what is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.bench.exchange import Evaluation, Result, Skipped, Timing, read_result
from edgecd.errors import InputError
from edgecd.files import read_json, write_json
from edgecd.formats.record import to_json
from edgecd.host.folders import claim
from edgecd.host.processes import ending, last_words, run_module

SYSTEMS = "systems"
# All that a benchmark writes into its folder.
HOLDS = (SYSTEMS, "models", "figures", "report.json", "report.md", "report.html")
EVALUATION = "evaluation"
WORKER, PROMPT_MODELS = "edgecd.bench.worker", "edgecd.bench.systems.prompt_models"
RIVAL = "edgecd.bench.systems.rival"


@dataclass(frozen=True)
class Ledger:
    """Results of systems by part: `evaluation`, `round-1`, ... in FOLDER/<system>/<part>.json.

    `marks` are the fingerprints of what each system is asked and of the machine.
    """

    folder: Path
    marks: Mapping[str, str]

    def evaluation(self, name: str) -> Evaluation | Skipped | None:
        """A system's evaluation, or None; InputError when it was under other conditions."""
        return self._read(Evaluation, name, EVALUATION)

    def timing(self, name: str, number: int) -> Timing | Skipped | None:
        """A system's timing in one round (from 1 on), or None; InputError as `evaluation`."""
        return self._read(Timing, name, _round(number))

    def is_done(self, name: str, rounds: int, answers: bool) -> bool:
        """Whether nothing is left to measure; `answers`: an evaluation is needed, too."""
        found = [self.evaluation(name), *(self.timing(name, one + 1) for one in range(rounds))]
        if any(isinstance(one, Skipped) for one in found):
            return True
        return None not in (found if answers else found[1:])

    def keep_evaluation(self, name: str, result: Evaluation | Skipped) -> None:
        """Keep a result, atomically."""
        self._write(name, EVALUATION, result)

    def keep_timing(self, name: str, number: int, result: Timing | Skipped) -> None:
        """Keep a round's result, atomically."""
        self._write(name, _round(number), result)

    def check(self) -> None:
        """Raise InputError when anything that is there was measured under other conditions."""
        for name in self.marks:
            for path in sorted((self.folder / name).glob("*.json")):
                self._stored(name, path)

    def _read(self, kind: type[Result], name: str, part: str) -> Result | Skipped | None:
        path = self.folder / name / f"{part}.json"
        return read_result(kind, self._stored(name, path), str(path)) if path.exists() else None

    def _stored(self, name: str, path: Path) -> Any:
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("fingerprint") != self.marks[name]:
            raise InputError(
                f"{path} was measured with other options, examples, models or versions: choose "
                "another --out, or pass --force to measure everything anew"
            )
        return stored.get("result")

    def _write(self, name: str, part: str, result: Evaluation | Timing | Skipped) -> None:
        stored = {"fingerprint": self.marks[name], "result": to_json(result)}
        write_json(self.folder / name / f"{part}.json", stored)


def open_ledger(out: Path, marks: Mapping[str, str], force: bool) -> Ledger:
    """The results in OUT/systems; InputError for an OUT of something else, unless `force`."""
    folder = out / SYSTEMS
    claim(out, HOLDS, force)
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder, marks)
    ledger.check()
    return ledger


def measure(name: str, spec: Any, threads: int, program: str = WORKER) -> Any:
    """Run a program of this package, which takes SPEC and RESULT as JSON, and return its result.

    Raises InputError, naming the system and the program's last words, when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgecd-bench-") as name_of_folder:
        ask, answer = (Path(name_of_folder) / file for file in ("spec.json", "result.json"))
        write_json(ask, spec)
        failure = run(program, [str(ask), str(answer)], threads)
        if failure is None and answer.is_file():
            return read_json(answer)
    raise InputError(
        f"system {name!r} could not be measured: its process {failure or ending(0)}\n"
        "finished systems are kept: cure it and run the same command again, or name the "
        "baselines to keep with --baselines"
    )


def run(program: str, arguments: Sequence[str], threads: int) -> str | None:
    """Run a program to its end; None, or how it failed and what it said last."""
    with tempfile.TemporaryFile() as log:
        code = run_module(program, arguments, threads, log)
        log.seek(0)
        said = last_words(log.read().decode("utf-8", errors="replace"))
    if code == 0:
        return None
    return ending(code) + "".join(f"\n  {line}" for line in said)


def _round(number: int) -> str:
    return f"round-{number}"
