"""What the documents name is there: commands, their options, and Python that compiles."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from edgecd.cli import app
from tests.documents import ROOT, Block, blocks

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FIRST_COMMAND_BY_LINE = 20


def of(*languages: str) -> list[Any]:
    """The blocks in these languages, as parameters named by their place."""
    found = [block for path in DOCUMENTS for block in blocks(path) if block.language in languages]
    return [pytest.param(block, id=block.where) for block in found]


@pytest.mark.parametrize("block", of("bash", "text"))
def test_every_edgecd_command_and_option_exists(block: Block) -> None:
    group: Any = get_command(app)
    parts = [part for line in block.commands() for part in re.split(r"&&|\||;", line)]
    for part in parts:
        found = re.match(r"\s*(?:\S*/)?edgecd ([a-z-]+)(.*)", part)
        if found is None or found[1].startswith("-"):
            continue
        assert found[1] in group.commands, f"{block.where}: no command {found[1]}"
        known = {
            name
            for parameter in group.commands[found[1]].params
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        given = {word.partition("=")[0] for word in shlex.split(found[2]) if word[:2] == "--"}
        unknown = given - known - {"--", "--help"}
        assert not unknown, f"{block.where}: edgecd {found[1]} has no {', '.join(unknown)}"


@pytest.mark.parametrize("block", of("python"))
def test_python_in_documents_compiles(block: Block) -> None:
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("block", of("toml"))
def test_toml_in_documents_is_valid(block: Block) -> None:
    tomllib.loads(block.text)


def test_the_readmes_first_command_stands_near_its_top() -> None:
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "bash")
    assert int(first.where.rpartition(":")[2]) < FIRST_COMMAND_BY_LINE


def test_links_of_documents_outside_the_site_lead_somewhere() -> None:
    for path in (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")):
        text = path.read_text(encoding="utf-8")
        targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(
            r'(?:src|srcset)="([^"]+)"', text
        )
        for target in targets:
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"
            assert not Path(target).is_absolute()
