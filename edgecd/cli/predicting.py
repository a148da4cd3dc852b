"""The command `predict`: one text, the rows of a file, or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from edgecd.cli.options import Force, Json, Quiet, named_fields, print_result, say
from edgecd.cli.requests import command
from edgecd.errors import CheckFailed, InputError
from edgecd.runtime.config import PredictConfig

if TYPE_CHECKING:
    from edgecd.runtime.predictor import Predictor

_DASH = (
    " (a text that begins with a dash stands after two dashes alone: "
    'edgecd predict BUNDLE -- "-5 degrees")'
)


class _TextCommand(typer.core.TyperCommand):
    """A command that says what to do with a text that looks like an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as bad:
            if type(bad).__name__ == "NoSuchOption":  # typer brings click, or a copy of its own
                bad.message += _DASH  # type: ignore[attr-defined]
            raise


@command(PredictConfig, cls=_TextCommand)
def predict(
    request: PredictConfig,
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    text: Annotated[
        str | None,
        typer.Argument(
            help="A text, a file (.csv, .tsv, .jsonl, .json, .xlsx, .parquet), or - for JSON "
            "lines on stdin."
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="name=value for each field of the template; of a file name=column."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Of a file: where the labelled rows go (.csv, .tsv, .jsonl)."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label one text, the rows of a file, or JSON lines on stdin.

    A file's columns are kept, and label, probability, shortened and error are added. What is wrong
    with a row or line is told in its place and ends nothing: the exit code is 1 when any has no
    answer.
    """
    from edgecd.runtime.predictor import Predictor

    file = _file(text)
    if file is None and (text is None) == (not field):
        raise InputError(
            "give a TEXT, a file, --field name=value for each field, or - for JSON lines on stdin"
        )
    if file is None and out is not None:
        raise InputError("--out takes the rows of a file: give one (.csv, .tsv, .jsonl ...)")
    predictor = Predictor.load(
        bundle, request.provider, request.threads, request.context, request.threshold
    )
    given = named_fields(field or [])
    if file is not None:
        _label_file(predictor, file, given, out, request.top, force, as_json, quiet)
    elif text == "-":
        _label_lines(predictor, sys.stdin.buffer, request.top)
    else:
        _label_one(predictor, text if text is not None else given, request.top, as_json)


def _file(text: str | None) -> Path | None:
    """The file that a TEXT names; None for a text. InputError for a file of another kind."""
    from edgecd.tasks.readers import ENDINGS

    if text is None or len(text) > 1024 or "\0" in text:
        return None
    path = Path(text).expanduser()
    is_data = path.suffix.lower() in ENDINGS
    try:
        is_file = path.is_file()
    except (OSError, RuntimeError):
        is_file = False
    if is_file and not is_data:
        raise InputError(
            f"{text} is a file, and none of {', '.join(ENDINGS)} (to label the text itself "
            "give it with --field)"
        )
    if is_data and not is_file and not any(letter.isspace() for letter in text):
        raise InputError(f"{text}: no such file (to label the text itself give it with --field)")
    return path if is_file else None


def _label_one(
    predictor: Predictor, given: str | dict[str, str], top: int | None, as_json: bool
) -> None:
    from edgecd.runtime.stream import answer_json

    prediction = predictor.predict(given)

    def show() -> None:
        if top is None:
            say(prediction.label or "unsure")
            shares = prediction.best(len(predictor.labels))
            say("  ".join(f"{name} {share:.3f}" for name, share in shares), err=True)
        else:
            for name, share in prediction.best(top):
                say(f"{name} {share:.3f}")
            if prediction.unsure:
                typer.echo("unsure: no label reaches the threshold", err=True)
        if prediction.shortened:
            typer.echo("note: the input was too long; its longest field was shortened", err=True)

    print_result(as_json, answer_json(prediction, top), show)


def _label_lines(predictor: Predictor, lines: Iterable[bytes], top: int | None) -> None:
    from edgecd.files import json_line
    from edgecd.runtime.stream import predict_lines

    count = errors = shortened = 0
    for answer in predict_lines(predictor, lines, top):
        typer.echo(json_line(answer, default=str))
        count += 1
        errors += "error" in answer
        shortened += answer.get("shortened", False)
    if shortened:
        typer.echo(f"note: {shortened} of {count} inputs were too long and shortened", err=True)
    if errors:
        raise CheckFailed(f"{errors} of {count} lines have no answer: see their error")


def _label_file(
    predictor: Predictor,
    file: Path,
    columns: dict[str, str],
    out: Path | None,
    top: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from edgecd.console import Console
    from edgecd.runtime.table import label_table, open_table

    table = open_table(predictor, file, columns)
    with Console(quiet) as console:
        done = label_table(
            predictor,
            table,
            out,
            top,
            force,
            as_json and out is None,
            lambda rows, total: console.progress("predict", rows, total),
        )
        for name, new in done.renamed.items():
            console.say(f"{file} has a column {name} already: the answers' is {new}")
        for count, words in (
            (done.unsure, "unsure, without a label"),
            (done.shortened, "too long, and shortened"),
        ):
            if count:
                console.say(f"{count} of {done.rows} rows are {words}")
    if out is not None:
        found = ", ".join(f"{name} {count}" for name, count in done.labels.items())
        show = f"{out}: {done.rows} rows ({found or 'no label'})"
        print_result(as_json, {"out": str(out), **asdict(done)}, lambda: say(show))
    if done.errors:
        raise CheckFailed(f"{done.errors} of {done.rows} rows have no answer: see their error")
