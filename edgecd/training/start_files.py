"""The files that `edgecd init` writes, as text that a person goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecd.training.start_config import StartConfig

TASK = "task.toml"


def task_toml(table: Mapping[str, Any], data: Path, checked: bool) -> str:
    """A task file of the table that it is read as; `data` is what it was made of.

    `checked` says whether the words are known to be one token.
    """
    tried = "one token for each model" if checked else "not tried with the models: edgecd check"
    labels = "".join(f"{_toml(name)} = {_toml(word)}\n" for name, word in table["labels"].items())
    files = "".join(f"{split} = {_toml(file)}\n" for split, file in table["data"].items())
    return (
        f"# Made of {_comment(data.name)} by edgecd init. Change it as you like; edgecd check "
        "looks at it again.\n"
        f"name = {_toml(table['name'])}\n"
        "# What a model reads of an input, the texts in braces; a label's word follows.\n"
        f"template = {_toml(table['template'])}\n"
        f"\n# label = its word ({tried})\n[labels]\n{labels}\n[data]\n{files}"
    )


def project_toml(config: StartConfig) -> str:
    """The project file, with the models that were asked for."""
    return (
        "# What edgecd train, export and bench take in this folder; flags win over it.\n"
        f"task = {_toml(TASK)}\n"
        f"teacher = {_toml(config.teacher)}  # a local folder, a hub id or a .gguf file\n"
        f"student = {_toml(config.student)}\n"
        "\n# Options of the commands by name, such as shots = 32 (edgecd train --help).\n"
        "[train]\n\n[export]\n\n[bench]\n"
    )


def _toml(text: str) -> str:
    # JSON's texts are TOML's, but for a bare DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
