"""The command `init`: from a file of data to a task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecd.cli.options import Json, print_result
from edgecd.cli.requests import command
from edgecd.errors import InputError
from edgecd.training.start_config import StartConfig

if TYPE_CHECKING:
    from edgecd.tasks.draft import Choice
    from edgecd.training.start import Draft

_SHOWN_LABELS = 12


@command(StartConfig)
def init(
    request: StartConfig,
    data: Annotated[
        Path, typer.Argument(help="A file of rows (.csv, .tsv, .jsonl, .json, .xlsx, .parquet).")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take what is likely.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at a file of texts and labels; write task.toml, edgecd.toml and a part to test on.

    Labels are written in one way, empty and repeated texts left out, and all of it is said.
    """
    from edgecd.training.start import draft, refuse_written, write

    asks = not yes and not as_json and _is_terminal()

    def decide(what: str, flag: str, choice: Choice) -> tuple[str, ...]:
        return _decide(what, flag, choice, yes, asks)

    made = draft(data, request, decide)
    refuse_written(made, force)
    if asks:
        _show(made, data)
        if not typer.confirm("write these files?", default=True, err=True):
            raise InputError("nothing was written")
    write(made)
    print_result(as_json, _json(made), lambda: None if asks else _show(made, data))
    if not as_json:
        typer.echo("next: edgecd check, then edgecd train")


def _is_terminal() -> bool:
    """Whether someone can be asked."""
    return sys.stdin.isatty()


def _decide(what: str, flag: str, choice: Choice, yes: bool, asks: bool) -> tuple[str, ...]:
    """The columns that are it, asked for where two are as likely and there is someone to ask."""
    several = flag == "--text-columns"
    likely = choice.columns if several and choice.sure else choice.columns[:1]
    if choice.sure or yes:
        return likely
    if not asks:
        raise InputError(
            f"{what} may be in {', '.join(choice.columns)}: say where with {flag} (or take "
            f"{likely[0]} with --yes)"
        )
    while True:
        hint = ", several with commas between" if several else ""
        text = f"which column holds {what}? ({', '.join(choice.columns)}{hint})"
        answer = str(typer.prompt(text, default=likely[0], err=True))
        names = tuple(name.strip() for name in answer.split(","))
        if set(names) <= set(choice.columns) and (several or len(names) == 1):
            return names
        typer.echo("that is none of them", err=True)


def _show(made: Draft, data: Path) -> None:
    """What was made of the file, for people."""
    *texts, label = made.columns
    typer.echo(f"{data}: texts in {', '.join(texts)}, labels in {label}")
    for note in made.notes:
        typer.echo(f"note: {note}")
    typer.echo("an input, and what a model answers:")
    for line in made.wording.template.split("\n"):
        typer.echo(f"  {line}")
    words = list(made.wording.words.items())
    for name, word in words[:_SHOWN_LABELS]:
        typer.echo(f"    {word!r} for {name} ({made.labels[name]:,} rows)")
    if len(words) > _SHOWN_LABELS:
        typer.echo(f"    and {len(words) - _SHOWN_LABELS} more labels")
    if made.checked_with:
        typer.echo(f"each word is one token for {' and '.join(made.checked_with)}")
    typer.echo(f"{made.train:,} rows to train on, {made.test:,} to test on")
    typer.echo(f"files: {', '.join(made.files)}")


def _json(made: Draft) -> dict[str, Any]:
    return {
        "task": made.name,
        "columns": {"texts": list(made.columns[:-1]), "label": made.columns[-1]},
        "template": made.wording.template,
        "labels": {
            name: {"word": word, "rows": made.labels[name]}
            for name, word in made.wording.words.items()
        },
        "letters": list(made.wording.letters),
        "checked_with": list(made.checked_with),
        "train": made.train,
        "test": made.test,
        "notes": list(made.notes),
        "files": list(made.files),
    }
