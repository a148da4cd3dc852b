"""`run.json`: what a finished training says of itself, and the one reader of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, shown
from edgecd.files import read_json
from edgecd.formats import strict
from edgecd.tasks.prompts import FORMS, PromptTemplate

RUN, HELDOUT = "run.json", "heldout.jsonl"


@dataclass(frozen=True)
class RunTask:
    """What a student was trained on: its prompt, or fields, in at most `max_length` tokens."""

    name: str
    prompt: PromptTemplate
    max_length: int


@dataclass(frozen=True)
class Run:
    """A run.json: what is read of every training's; None where it says nothing of it.

    `values` holds all of its keys, which are the trainings' own.
    """

    path: Path
    values: Mapping[str, Any]
    method: str | None
    teacher: str | None
    student: str | None
    seed: int | None
    shots: int | None

    @property
    def task(self) -> RunTask:
        """The student's task; InputError for a run that trained none."""
        try:
            task = strict.mapping(strict.get(self.values, "task"), "task")
            form = task.get("form", "prompt")
            if form not in FORMS:
                raise InputError(f"form must be one of {', '.join(FORMS)}")
            prompt = PromptTemplate(
                strict.text(strict.get(task, "template"), "template", strict.MAX_TEXT),
                strict.texts(strict.get(task, "labels"), "labels"),
                form,
            )
            length = strict.get(self.values, "max_length")
            return RunTask(
                strict.text(strict.get(task, "name"), "name", 256),
                prompt,
                strict.whole(length, "max_length", 1, strict.MAX_TOKENS),
            )
        except InputError as bad:
            raise InputError(
                f"{self.path} is not of a run that trained a student ({bad}): train the run again"
            ) from None


def read_run(folder: Path) -> Run:
    """The run.json of a run folder; InputError for one that has none, or not of a training."""
    path = folder / RUN
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} is not of a run: train the run again")
    texts = {key: _of(str, values, key, path) for key in ("method", "teacher", "student")}
    numbers = {key: _of(int, values, key, path) for key in ("seed", "shots")}
    return Run(path, values, **texts, **numbers)


def _of(kind: type, values: Mapping[str, Any], key: str, path: Path) -> Any:
    value = values.get(key)
    if value is not None and not isinstance(value, kind):
        raise InputError(
            f"{path}: {key} = {shown(value)} is not {kind.__name__}: train the run again"
        )
    return value
