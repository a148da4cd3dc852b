"""A hook of MkDocs that writes the reference pages from the code, at each build.

Commands come from the command line itself, Python from `edgecd.__all__`, tables from the package's
own tables, and the pages in COPIED from files elsewhere in the repository.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File
from typer.main import get_command

import edgecd
from edgecd.bench.peers.registry import PEERS
from edgecd.bench.rivals.registry import RIVALS
from edgecd.cli import app
from edgecd.config import option_of
from edgecd.export.encoder_stack import ENCODER_FAMILIES
from edgecd.export.families import FUSED_FAMILIES
from edgecd.export.target import load_target, target_names
from edgecd.formats.kinds import ENCODERS
from edgecd.formats.precision import PRECISIONS
from edgecd.plotting.roles import ROLES
from edgecd.tasks.task import builtin_tasks

ROOT = Path(__file__).parents[2]
COPIED = {"export/BUNDLE.md": "reference/bundle.md", "CHANGELOG.md": "changelog.md"}


_APP: Any = get_command(app)
COMMANDS: Mapping[str, Any] = _APP.commands


def on_config(config: Any) -> None:
    """Put a page for each command into the navigation, below their overview."""
    (reference,) = (part["Reference"] for part in config.nav if "Reference" in part)
    (commands,) = (part["Commands"] for part in reference if "Commands" in part)
    commands += [{name: f"reference/commands/{name}.md"} for name in COMMANDS]


def on_files(files: Any, config: Any) -> None:
    """Add the generated pages to those of docs/."""
    for page, parts in pages():
        text = "\n\n".join(part.strip() for part in parts) + "\n"
        files.append(File.generated(config, page, content=text))


def pages() -> Iterator[tuple[str, Iterable[str]]]:
    """Every generated page: its path under docs/, and its blocks of Markdown."""
    yield "reference/commands/index.md", _overview()
    for name, command in COMMANDS.items():
        yield f"reference/commands/{name}.md", _command_page(name, command)
    yield "reference/python.md", _python_page()
    yield "reference/tables.md", _tables_page()
    for source, page in COPIED.items():
        yield page, [(ROOT / source).read_text(encoding="utf-8")]


def _overview() -> Iterator[str]:
    yield "# Commands"
    yield (
        "Every command takes `--help`. Most take `--json` (one JSON object on standard output; "
        "words and progress go to standard error) and `--quiet`. `--config FILE` reads options "
        "from a TOML file; a flag wins over it."
    )
    yield _table(
        ("command", "what it does"),
        ((f"[`{name}`]({name}.md)", _first_line(one.help)) for name, one in COMMANDS.items()),
    )
    yield (
        "Exit codes: 0 done, 1 a check failed (the gate of `export`, `verify`, an input without "
        "an answer), 2 wrong use or bad input, 130 interrupted."
    )


def _command_page(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"edgecd {name}")
    yield f"# edgecd {name}"
    yield " ".join((command.help or "").split())
    yield f"```text\nedgecd {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            panel = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or panel
            panels.setdefault(panel, []).append((f"`{record[0]}`", record[1]))
    for panel, rows in panels.items():
        yield f"## {panel}"
        yield _table(("option" if panel != "Arguments" else "argument", "what it is"), rows)


def _python_page() -> Iterator[str]:
    """The interface: its own docstring, then functions, classes, configurations and errors."""
    yield f"# Python\n\n{inspect.getdoc(edgecd)}"
    names = [name for name in edgecd.__all__ if not name.startswith("_")]
    parts = {name: getattr(edgecd, name) for name in names}
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Options": [], "Errors": []}
    for name, found in parts.items():
        if not isinstance(found, type):
            kinds["Functions"].append(name)
        elif issubclass(found, Exception):
            kinds["Errors"].append(name)
        elif dataclasses.is_dataclass(found) and "option" in dataclasses.fields(found)[0].metadata:
            kinds["Options"].append(name)
        else:
            kinds["Classes"].append(name)
    for kind, members in kinds.items():
        yield f"## {kind}"
        for name in members:
            found = parts[name]
            if kind == "Options":
                yield f"### {name}\n\n{inspect.getdoc(found)}"
                yield _options_table(found)
            else:
                yield f"::: {found.__module__}.{found.__qualname__}"


def _options_table(kind: Any) -> str:
    """The fields of a configuration: name, default and what the command line says of each."""
    rows = []
    for field in dataclasses.fields(kind):
        needed = field.default is dataclasses.MISSING
        default = "needed" if needed else f"`{field.default!r}`"
        rows.append((f"`{field.name}`", default, _cell(option_of(field).help)))
    return _table(("field", "default", "what it is"), rows)


def _tables_page() -> Iterator[str]:
    yield "# Tables"
    yield "What edgecd knows by name, read from its own tables when this site was built."
    yield "## Built-in tasks"
    yield _table(
        ("task", "labels", "splits", "data"),
        (
            (f"`{name}`", ", ".join(task.labels), ", ".join(task.splits), task.hub or "embedded")
            for name, task in builtin_tasks().items()
        ),
    )
    yield "## Precisions"
    yield _table(
        ("option", "what it is", "labels that may flip", "logits on another machine"),
        (
            (
                f"`--{one.name}`",
                one.help,
                f"{one.max_flips_pct:g}%",
                f"within {one.tolerance:g}: {one.reason}",
            )
            for one in PRECISIONS.values()
        ),
    )
    yield "## Targets"
    yield _table(
        ("target", "precision", "for"),
        (
            (f"`{name}`", load_target(name).precision, load_target(name).description)
            for name in target_names()
        ),
    )
    yield "## Families of models"
    yield _table(
        ("kind", "model types"),
        (
            ("decoders with a fused graph", _names(FUSED_FAMILIES)),
            ("encoders with a fused graph", _names(ENCODER_FAMILIES)),
            ("encoders that can be students", _names(ENCODERS)),
        ),
    )
    yield (
        "A model type is `model_type` in a model's `config.json`. Other decoders go through "
        "`torch.onnx.export`: slower on the device, and tested less."
    )
    yield "## Rivals of `bench`"
    yield "Simple classifiers that learn from the labels that the teacher was shown."
    yield _table(
        ("name", "runs on", "needs"),
        ((f"`{one.name}`", one.runtime, _code(one.advice)) for one in RIVALS),
    )
    yield "## Other runtimes of `bench --peers`"
    yield _table(
        ("name", "precision", "needs"),
        ((f"`{one.name}`", one.precision, _names(one.needs)) for one in PEERS),
    )
    yield "## Roles in a report"
    yield _table(("role", "stands under"), ((f"`{one.name}`", one.heading) for one in ROLES))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(map(_cell, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(text: str) -> str:
    """Text that stays one cell; a bar in a code span does so by itself."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part[:1] == "`" else part.replace("|", "\\|") for part in parts)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _code(text: str) -> str:
    return f"`{text}`" if text else "nothing"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]
