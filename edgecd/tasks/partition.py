"""Tasks to learn compressing on, and tasks to test it on, whatever form they come in.

A partition file names tasks and says which families are trained on and which are held out
(MetaICL, https://arxiv.org/abs/2110.15943). Its tasks are classification tasks as in a task file,
or of MetaICL's own data, where each has one file for training and one for each seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, check_keys, suggest
from edgecd.files import read_toml
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.readers import read_rows
from edgecd.tasks.rows import DataRow
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Example, parse_task

_TOP_KEYS = {"name", "description", "metaicl", "tasks", "split"}
_TASK_KEYS = {"family", "template", "labels", "data", "description"}
METAICL_TRAIN = "{name}/{name}_16384_100_train.jsonl"
METAICL_TEST = "{name}/{name}_16_{seed}_{split}.jsonl"


@dataclass(frozen=True)
class TextExample:
    """One example: `prompt + answer` is what a language model reads.

    `options` are the possible answers, the right one among them; empty where any text may be one.
    """

    prompt: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What a language model reads of it as a demonstration: the prompt, then the answer."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class Pool:
    """Examples of a task that demonstrations and queries are drawn from.

    Demonstrations come from `train`, and the queries of a test from `test`. A task whose test
    depends on the seed has other pools for other seeds.
    """

    train: tuple[TextExample, ...]
    test: tuple[TextExample, ...]


@dataclass(frozen=True)
class MetaTask:
    """A task by name and family; `pool` reads its examples, for one seed."""

    name: str
    family: str
    pool: Callable[[int], Pool]


@dataclass(frozen=True)
class Partition:
    """Tasks to train on, and others, of other families, to test on."""

    name: str
    train: tuple[MetaTask, ...]
    test: tuple[MetaTask, ...]


def text_example(template: PromptTemplate, example: Example) -> TextExample:
    """A labelled example of a classification task: its words are the options."""
    words = template.verbalizer
    answer = words[str(example.label)]
    return TextExample(template.render(example.fields), answer, tuple(words.values()))


def load_partition(path: Path, split: str | None, data: Path | None) -> Partition:
    """One split of a partition file; the only one when `split` is None.

    `data` is the folder that the tasks' paths are relative to (None: the file's own). Raises
    InputError for an unknown split, task or family, and for a task on both sides.
    """
    table = read_toml(path)
    where = str(path)
    check_keys(table, _TOP_KEYS, where)
    splits = _table(table, "split", where)
    if split is None and len(splits) != 1:
        raise InputError(f"{where} has the splits {', '.join(splits)}: choose one with --split")
    chosen = next(iter(splits)) if split is None else split
    if chosen not in splits:
        raise InputError(
            f"{where} has no split {chosen!r}, but {', '.join(splits)}{suggest(chosen, splits)}"
        )
    folder = data or path.parent
    tasks = {
        name: _task(name, raw, folder, where)
        for name, raw in _table(table, "tasks", where, needed=False).items()
    }
    source = table.get("metaicl")
    sides = {}
    for side in ("train", "test"):
        names = _names(splits[chosen], side, f"{where}: [split.{chosen}]")
        sides[side] = tuple(
            found for name in names for found in _find(name, tasks, source, data, where)
        )
        if not sides[side]:
            raise InputError(f"{where}: [split.{chosen}] has no {side} tasks")
    both = {task.name for task in sides["train"]} & {task.name for task in sides["test"]}
    # MetaICL's own partitions train on some of what they test on: theirs to answer for.
    if both and source is None:
        raise InputError(f"{where}: {sorted(both)[0]} is both trained and tested on")
    return Partition(f"{table.get('name', path.stem)}/{chosen}", sides["train"], sides["test"])


def _find(
    name: str, tasks: Mapping[str, MetaTask], source: Any, data: Path | None, where: str
) -> list[MetaTask]:
    """The task of that name, or all tasks of that family."""
    if name in tasks:
        return [tasks[name]]
    if family := [task for task in tasks.values() if task.family == name]:
        return family
    if source is None:
        known = [*tasks, *{task.family for task in tasks.values()}]
        raise InputError(f"{where}: no task or family {name!r}{suggest(name, known)}")
    return [MetaTask(name, "metaicl", lambda seed: _metaicl_pool(str(source), data, name, seed))]


def _task(name: str, raw: Any, folder: Path, where: str) -> MetaTask:
    if not isinstance(raw, dict):
        raise InputError(f"{where}: [tasks.{name}] must be a table")
    check_keys(raw, _TASK_KEYS, f"{where}: [tasks.{name}]")
    values = {key: value for key, value in raw.items() if key != "family"}
    task = parse_task({"name": name, **values}, folder / f"{name} of {Path(where).name}")

    def pool(seed: int) -> Pool:
        del seed  # the same files whatever the seed
        train, test = (
            tuple(
                text_example(task.template, example)
                for example in read_split(task, split).examples
                if example.label is not None
            )
            for split in ("train", "test")
        )
        return Pool(train, test)

    return MetaTask(name, str(raw.get("family", name)), pool)


def _metaicl_pool(source: str, data: Path | None, name: str, seed: int) -> Pool:
    """A task of MetaICL's data: a folder of files, under `data` or in a data set of the hub."""
    from edgecd.host.hub import resolve_file

    def read(pattern: str, split: str) -> tuple[TextExample, ...]:
        file = pattern.format(name=name, seed=seed, split=split)
        path = resolve_file(source, f"data/{file}") if data is None else data / file
        return tuple(_metaicl_pair(row) for row in read_rows(str(path)))

    if seed == 0:  # to train on
        return Pool(read(METAICL_TRAIN, "train"), ())
    return Pool(read(METAICL_TEST, "train"), read(METAICL_TEST, "test"))


def _metaicl_pair(row: DataRow) -> TextExample:
    values = row.values
    prompt, answer, options = values.get("input"), values.get("output"), values.get("options", [])
    if not isinstance(prompt, str) or not isinstance(answer, str) or not isinstance(options, list):
        raise InputError(f"{row.where}: not a MetaICL example (input, output, options)")
    return TextExample(f"{prompt}\n", answer, tuple(str(option) for option in options))


def _table(table: Mapping[str, Any], key: str, where: str, needed: bool = True) -> dict[str, Any]:
    value = table.get(key, None if needed else {})
    if not isinstance(value, dict) or (needed and not value):
        raise InputError(f"{where}: [{key}] must be a table with at least one entry")
    return value


def _names(table: Any, side: str, where: str) -> list[str]:
    names = table.get(side) if isinstance(table, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{where}: {side} must be a list of tasks or families")
    return names
