"""What rivals have in common: the text of an input, and files of a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.bench.systems.base import Demonstration, Fields
from edgecd.tasks.linear import Head
from edgecd.tasks.prompts import PromptTemplate, value_of

if TYPE_CHECKING:
    from edgecd.tasks.answerer import Answerer

HEAD = "head.safetensors"


@dataclass(frozen=True)
class Learned:
    """A rival that is ready to answer, at most `rows` inputs at once, and its size."""

    answerer: Answerer
    rows: int
    parameters: int | None
    disk_bytes: int | None
    provider: str = "cpu"


def write_head(head: Head, folder: Path) -> None:
    """Keep a head in a folder, as safetensors."""
    from safetensors.numpy import save_file

    save_file({"weight": head.weight, "bias": head.bias}, folder / HEAD)


def read_head(folder: Path) -> Head:
    """The head that is kept in a folder."""
    from safetensors.numpy import load_file

    found = load_file(folder / HEAD)
    return Head(found["weight"], found["bias"])


def labelled_columns(labelled: Sequence[Demonstration], template: PromptTemplate) -> list[int]:
    """The place of each example's label among the template's."""
    return [template.labels.index(label) for _, label in labelled]


def text_of(template: PromptTemplate, fields: Fields) -> str:
    """The fields that the template reads, a line each; InputError for one that is missing."""
    return "\n".join(value_of(fields, name) for name in template.fields)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
