"""Whether a bundle or a context is for a task: its labels, and the fields that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecd.errors import InputError
from edgecd.formats.bundle import MANIFEST, read_manifest
from edgecd.formats.context import read_context
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Task


def check_bundle(folder: Path, task: Task) -> None:
    """Raise InputError when a bundle's labels or fields are not the task's."""
    manifest = read_manifest(folder)
    _check_task(str(folder / MANIFEST), manifest.labels, manifest.prompt, task)


def check_context(file: Path, task: Task) -> None:
    """Raise InputError when a context's labels or fields are not the task's."""
    facts = read_context(file).facts
    _check_task(str(file), facts.labels, facts.prompt, task)


def _check_task(where: str, labels: Sequence[str], prompt: PromptTemplate, task: Task) -> None:
    if set(labels) != set(task.labels):
        raise InputError(
            f"{where}: its labels ({', '.join(labels)}) are not those of task {task.name} "
            f"({', '.join(task.labels)}): give the task that it was made for"
        )
    if missing := set(prompt.fields) - set(task.template.fields):
        raise InputError(
            f"{where}: it reads the field {', '.join(sorted(missing))}, which task {task.name} "
            "does not have: give the task that it was made for"
        )
