"""Whether a bundle or a context is for a task: its labels, and the fields that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecd.errors import InputError
from edgecd.formats.context import ContextFacts
from edgecd.formats.manifest import MANIFEST, Manifest
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Task


def check_bundle(folder: Path, manifest: Manifest, task: Task) -> None:
    """Raise InputError, naming the bundle, when its labels or fields are not the task's."""
    _check_task(str(folder / MANIFEST), manifest.labels, manifest.prompt, task)


def check_context(file: Path, facts: ContextFacts, task: Task) -> None:
    """Raise InputError, naming the file, when the context's labels or fields are not the task's."""
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
