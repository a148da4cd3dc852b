"""`edgecd init`: from a file of rows to a task, a project file, and a part to test on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.config import PROJECT
from edgecd.errors import EdgecdError, InputError, first_line
from edgecd.files import public, write_text
from edgecd.tasks.cut import Row, clean, label_names, split_off, usable_labels, without
from edgecd.tasks.demonstrations import write_lines
from edgecd.tasks.draft import (
    Choice,
    check_given,
    choose_label,
    choose_texts,
    columns_of,
    refuse_header_of_data,
)
from edgecd.tasks.readers import read_rows
from edgecd.tasks.task import parse_task
from edgecd.tasks.words import Wording, field_names, propose
from edgecd.training.start_config import StartConfig
from edgecd.training.start_files import TASK, project_toml, task_toml

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OTHER_PARTS = ("test", "validation", "valid", "val", "dev")

# What decides between columns: (what they are, the option that says it, the choice) -> columns.
Decide = Callable[[str, str, Choice], tuple[str, ...]]


@dataclass(frozen=True)
class Draft:
    """A task that is not written yet.

    `files` maps the name of each file to its rows or its text, in the order of writing; `columns`
    are those of the texts and, last, of the labels; `labels` count the rows to train and to test
    on; `checked_with` are the models in which the words are one token.
    """

    name: str
    columns: tuple[str, ...]
    labels: Mapping[str, int]
    wording: Wording
    checked_with: tuple[str, ...]
    train: int
    test: int
    notes: tuple[str, ...]
    files: Mapping[str, str | Sequence[Row]]


def draft(data: Path, config: StartConfig, decide: Decide) -> Draft:
    """Look at a file and make a task of it.

    Raises InputError for a file that cannot be read, and for one that holds no task.
    """
    table = [dict(row.values) for row in read_rows(str(data))]
    if not table:
        raise InputError(f"{data}: no rows")
    texts, label = _columns(table, config, decide)
    fields = field_names(texts)
    test_file, notes = config.test, []
    if test_file is None and (found := _other_part(data)) is not None:
        test_file = found
        notes.append(f"{found} is what it is tested on (--test)")
    test_table = _test_rows(test_file, (*texts, label)) if test_file is not None else []
    names = label_names((row.get(label) for row in (*table, *test_table)), label)
    cleaned = clean(table, fields, label, names)
    labels = usable_labels(cleaned, label)
    cleaned = cleaned.of(labels)
    notes += cleaned.notes
    if test_file is None:
        train, test = split_off(cleaned.rows, config.test_share, config.seed)
        if not test:
            raise InputError(f"{data}: no row can be tested on, as each text has several labels")
    else:
        other = clean(test_table, fields, label, names).of(labels)
        notes += [f"{test_file.name}: {note}" for note in other.notes]
        test = [row for row in other.rows if row["label"] is not None]
        if not test:
            raise InputError(f"{test_file}: no row with a text and one of the labels of {data}")
        train = without(cleaned.rows, test)
        if gone := len(cleaned.rows) - len(train):
            notes.append(f"{gone} rows that {test_file.name} has, too, are not trained on")
    tokenizers, checked, missing = _tokenizers(config)
    wording = propose(labels, list(fields.values()), label, tokenizers)
    if wording.letters:
        notes.append(
            f"no word of one token was found for {', '.join(wording.letters[:8])}: a letter stands "
            f"for each; write better words in {TASK} if you know some"
        )
    if all(re.fullmatch(r"[-\d.]+", one) for one in labels):
        notes.append(f"numbers tell a model little of what labels mean: write words in {TASK}")
    stem = re.sub(r"[^\w-]+", "-", data.stem).strip("-.") or "data"
    name = config.name or stem[:60]
    files: dict[str, str | Sequence[Row]] = {f"{stem}.train.jsonl": train}
    files[f"{stem}.test.jsonl"] = test
    table_of = {
        "name": name,
        "template": wording.template,
        "labels": dict(wording.words),
        "data": dict(zip(("train", "test"), files, strict=True)),
    }
    parse_task(table_of, Path(TASK))  # what could not be read is not written
    files[TASK] = task_toml(table_of, data, wording.checked)
    files[PROJECT] = project_toml(config)
    return Draft(
        name=name,
        columns=(*texts, label),
        labels=cleaned.labels,
        wording=wording,
        checked_with=checked,
        train=len(train),
        test=len(test),
        notes=(*notes, *missing),
        files=files,
    )


def refuse_written(made: Draft, force: bool) -> None:
    """Raise InputError, before anything is written, where one of the files is there already."""
    there = [name for name in made.files if Path(name).exists()]
    if there and not force:
        raise InputError(
            f"{', '.join(there)} already there: work in another folder, or pass --force to replace"
        )


def write(made: Draft) -> None:
    """Write the files into the working directory, each whole or not at all."""
    for name, content in made.files.items():
        if isinstance(content, str):
            write_text(Path(name), content)
        else:
            write_lines(Path(name), content)


def _columns(
    table: Sequence[Mapping[str, Any]], config: StartConfig, decide: Decide
) -> tuple[tuple[str, ...], str]:
    """The columns of the texts, and that of the labels."""
    columns = columns_of(table)
    texts = config.text_columns
    check_given(columns, texts, "--text-columns")
    if config.label_column is not None:
        check_given(columns, [config.label_column], "--label-column")
        label = config.label_column
    else:
        choice = choose_label(columns, texts)
        if not choice.columns:
            raise InputError(
                "no column looks like labels, few values that come again and again (there are: "
                f"{', '.join(columns)}): say which it is with --label-column"
            )
        (label,) = decide("the labels", "--label-column", choice)
    refuse_header_of_data(columns, [row.get(label) for row in table], label)
    if not texts:
        choice = choose_texts(columns, label)
        if not choice.columns:
            raise InputError(
                f"no column looks like texts (there are: {', '.join(columns)}): say which they are "
                "with --text-columns"
            )
        texts = decide("the texts", "--text-columns", choice)
    if label in texts:
        raise InputError(f"the column {label!r} cannot be both text and label")
    return tuple(texts), label


def _test_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    table = [dict(row.values) for row in read_rows(str(path))]
    for column in columns:
        if not any(column in row for row in table):
            there = ", ".join(dict.fromkeys(name for row in table for name in row))
            raise InputError(f"{path}: no column {column!r} (there are: {there or 'none'})")
    return table


def _other_part(data: Path) -> Path | None:
    """The file beside `train.csv` that is called `test.csv`, or the like."""
    found = re.search(r"(?<![A-Za-z])train(?![A-Za-z])", data.stem, re.IGNORECASE)
    if found is None:
        return None
    for part in _OTHER_PARTS:
        stem = data.stem[: found.start()] + part + data.stem[found.end() :]
        if (path := data.with_name(stem + data.suffix)).is_file():
            return path
    return None


def _tokenizers(config: StartConfig) -> tuple[list[Tokenizer], tuple[str, ...], list[str]]:
    """Tokenizers of the models that read prompts, their names, and why others cannot be asked."""
    found, names, notes = [], [], []
    for role in ("teacher", "student"):
        name = str(getattr(config, role))
        try:
            tokenizer = _tokenizer(name, role)
        except (EdgecdError, ImportError) as bad:
            notes.append(f"words were not tried with the {role}: {first_line(bad)}")
            continue
        if tokenizer is not None:
            found.append(tokenizer)
            names.append(str(public(name)))
    return found, tuple(names), notes


def _tokenizer(name: str, role: str) -> Tokenizer | None:
    """A model's tokenizer; None of an encoder student, which reads no words."""
    from edgecd.formats.kinds import is_encoder
    from edgecd.lm.models import load_fast_tokenizer, load_model_config

    if role == "student" and is_encoder(load_model_config(name)):
        return None
    tokenizer: Tokenizer = load_fast_tokenizer(name).backend_tokenizer
    return tokenizer
