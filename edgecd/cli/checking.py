"""The command `check`: a task's data and words, before training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecd.cli.asked import Asked
from edgecd.cli.options import Json, print_result
from edgecd.cli.requests import command
from edgecd.errors import CheckFailed, InputError, shown
from edgecd.training.check_config import CheckConfig

if TYPE_CHECKING:
    from edgecd.console import Console
    from edgecd.training.check_record import Check, ModelLook
    from edgecd.training.config import TrainConfig


@command(CheckConfig)
def check(
    asked: Asked,
    task: Annotated[
        str | None, typer.Argument(help="A built-in name or a TOML file (edgecd.toml's).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at a task before training: labels, spellings, duplicates, lengths, words, time.

    Models are those of edgecd.toml in the working directory unless given; without any, only the
    data are looked at. The exit code is 1 where training would refuse something.
    """
    from edgecd.cli.project import read_project
    from edgecd.console import Console
    from edgecd.formats.record import to_json
    from edgecd.tasks.task import load_task

    project = read_project()
    name = task or project.task
    if name is None:
        raise InputError("which task? name a TOML file or a built-in task: edgecd check task.toml")
    options = {**project.training(), **asked.options}
    request: CheckConfig = asked.request(_shared(options, CheckConfig))
    roles = [role for role in ("teacher", "student") if getattr(request, role) is not None]
    loaded = load_task(name)
    if roles:
        from edgecd.errors import require

        for module in ("torch", "transformers", "peft"):
            require(module, "train")
    from edgecd.training.check import check as run_check

    found = run_check(loaded, _training(options, request, name), roles, request.estimate)
    print_result(as_json, to_json(found), lambda: _show(Console(False), found))
    if not found.ok:
        count = len(found.faults)
        raise CheckFailed(
            f"{name}: {'one thing' if count == 1 else f'{count} things'} to mend before training"
        )


def _shared(options: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Those of the options that this kind has."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in options.items() if name in names}


def _training(options: Mapping[str, Any], request: CheckConfig, task: str) -> TrainConfig:
    """The training that is checked: its own options, and those of the check."""
    from edgecd.training.config import TrainConfig

    given = {name: value for name, value in vars(request).items() if value is not None}
    given.pop("estimate")
    known = _shared(options, TrainConfig) if options.get("method", "cd") in ("cd", "pbft") else {}
    return TrainConfig(**{**known, **given, "task": task})


def _show(console: Console, found: Check) -> None:
    """A check for people: tables, then what to know, then what to mend."""
    console.table(f"{found.task}: splits", _of_use(_splits(found)))
    console.table("labels", _of_use(_labels(found)))
    if found.models:
        console.table("tokens of an input", _of_use(map(_lengths, found.models)))
    lines = [*_said(found)]
    lines += [f"note: {remark}" for remark in found.remarks]
    lines += [f"to mend: {fault}" for fault in found.faults]
    if not found.models:
        lines.append("words, lengths and time: name models with --teacher and --student")
    for line in [*lines, *([] if found.faults else ["nothing to mend"])]:
        typer.echo(line)  # as it is: some lines are there to be copied


def _of_use(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The same rows without the columns in which none has anything."""
    found = list(rows)
    kept = [name for name in found[0] if any(row[name] not in ("", "0") for row in found)]
    return [{name: row[name] for name in kept} for row in found]


def _splits(found: Check) -> Iterator[dict[str, str]]:
    for name, one in found.splits.items():
        dropped = sum(one.dropped.values())
        yield {
            "split": name,
            "examples": f"{one.examples:,}",
            "without label": f"{one.unlabelled:,}",
            "repeated": f"{one.duplicates:,}",
            "two labels": f"{one.two_labels:,}",
            "dropped": f"{dropped:,} of {len(one.dropped)} labels" if dropped else "0",
            "shared": ", ".join(
                f"{shared.examples:,} with {shared.first}"
                for shared in found.overlaps
                if shared.second == name
            ),
        }


def _labels(found: Check) -> Iterator[dict[str, str]]:
    """Each label with its word, its count in each split, its spellings, and what is one token."""
    from edgecd.tasks.labels import plainly

    for label, word in found.labels.items():
        row = {"label": plainly(label), "word": repr(word)}
        written: Counter[str] = Counter()
        for name, split in found.splits.items():
            if split.labels:
                row[name] = f"{split.labels[label]:,}"
            written.update(split.spellings.get(label, {}))
        row["written"] = ", ".join(f"{shown(way)} {count}" for way, count in written.most_common())
        for model in found.models:
            if model.words:
                tokens = model.words[label]
                row[f"tokens ({model.role})"] = " ".join(tokens) or "merges with the template"
        yield row


def _lengths(model: ModelLook) -> dict[str, str]:
    from edgecd.files import public

    lengths = model.lengths
    return {
        "model": f"{model.role} {public(model.model)}",
        "usual": str(lengths.median),
        "longest": f"{lengths.longest:,}",
        "shortened": f"{lengths.shortened:,} of {lengths.texts:,} at {lengths.max_length}",
        "demonstrations": f"{model.context_tokens:,}" if model.context_tokens else "",
    }


def _said(found: Check) -> Iterator[str]:
    shots = found.shots
    if shots is not None:
        shown = shots.labels - shots.never_shown if shots.number else 0
        yield f"{shots.number} demonstrations show {shown} of {shots.labels} labels"
    if found.estimate is not None:
        parts = {"scoring": found.estimate.scoring_s, "training": found.estimate.training_s}
        told = [f"{name} about {_duration(spent)}" for name, spent in parts.items() if spent]
        if told:
            yield f"estimated for this machine as it is now: {', '.join(told)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
