"""What is asked of every system: the task's evaluation set, and those out of domain."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import InputError
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Task

_EVALUATION_SPLITS = ("validation", "test", "ood")


@dataclass(frozen=True)
class EvalSet:
    """Labelled inputs of one split; `available` is how many the split has.

    `places` are those of the inputs among the split's examples, from 1. `groups` holds the kind of
    each input, where the data tell it; `label_order` the task's labels.
    """

    name: str
    split: str
    inputs: tuple[Mapping[str, str], ...]
    labels: tuple[str, ...]
    groups: tuple[str | None, ...]
    label_order: tuple[str, ...]
    available: int
    places: tuple[int, ...]

    @property
    def columns(self) -> NDArray[np.int64]:
        """The place of each right label in `label_order`, [examples]."""
        return np.array([self.label_order.index(label) for label in self.labels], np.int64)


def evaluation_sets(
    task: Task, ood: Sequence[Task], split: str | None, limit: int | None
) -> tuple[EvalSet, ...]:
    """The task's own set first, then those out of domain, at most `limit` examples of each.

    A task's own `ood` split is one of them. Raises InputError for a task out of domain that has
    other labels or fields than `task`, as its figures would answer another question.
    """
    labels = task.labels
    sets = [_read_set(task, task.name, split or _default_split(task), limit, labels)]
    if "ood" in task.splits and sets[0].split != "ood":
        sets.append(_read_set(task, "ood", "ood", limit, labels))
    for other in ood:
        if set(other.labels) != set(task.labels):
            raise InputError(
                f"--ood {other.name}: its labels ({', '.join(other.labels)}) are not those of "
                f"{task.name} ({', '.join(task.labels)}), so the two cannot be compared: map them "
                "in its [data.label_map], or leave it out"
            )
        if missing := set(task.template.fields) - set(other.template.fields):
            raise InputError(
                f"--ood {other.name}: it has no field {', '.join(sorted(missing))}, which the "
                f"template of {task.name} needs: map it in its [data.fields], or leave it out"
            )
        sets.append(_read_set(other, other.name, _default_split(other), limit, labels))
    names = [one.name for one in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two evaluation sets are named {name!r}: give each task its own name")
    return tuple(sets)


def _default_split(task: Task) -> str:
    found = next((name for name in _EVALUATION_SPLITS if name in task.splits), None)
    if found is None:
        raise InputError(
            f"task {task.name!r} has no split to evaluate on: add validation or test to [data] in "
            f"{task.source}"
        )
    return found


def _read_set(
    task: Task, name: str, split: str, limit: int | None, label_order: tuple[str, ...]
) -> EvalSet:
    examples = read_split(task, split).examples
    known = [(n, one) for n, one in enumerate(examples, start=1) if one.label is not None]
    if not known:
        raise InputError(f"{split} of task {task.name!r} has no labels to evaluate on")
    chosen = known
    if limit is not None and limit < len(known):
        # A sample, not the head: files are often ordered by label or by kind.
        places = random.Random(f"edgecd bench {task.name}").sample(range(len(known)), limit)
        chosen = [known[place] for place in sorted(places)]
    return EvalSet(
        name,
        split,
        tuple(dict(example.fields) for _, example in chosen),
        tuple(str(example.label) for _, example in chosen),
        tuple(example.group for _, example in chosen),
        label_order,
        len(known),
        tuple(place for place, _ in chosen),
    )
