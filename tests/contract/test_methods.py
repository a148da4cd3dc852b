"""The table of methods is all that knows them: its rows are whole, and another row is a method."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from edgecd.cli.requests import make_command
from edgecd.cli.training import train
from edgecd.config import option_of
from edgecd.contexts import methods
from edgecd.contexts.methods import (
    COMPRESSOR,
    METHODS,
    config_classes,
    find_method,
    methods_of,
    role_of_method,
    writes,
)
from edgecd.errors import InputError
from edgecd.formats.compressor import COMPRESSOR_METHODS
from edgecd.formats.context import CONTEXT_METHODS
from edgecd.plotting.roles import role_of
from tests import tiny
from tests.toy_method import TOY, ToyConfig


@pytest.mark.parametrize("name", METHODS)
def test_a_row_is_whole(name: str) -> None:
    method = METHODS[name]
    config = method.config_class
    (field,) = (field for field in dataclasses.fields(config) if field.name == "method")
    assert name == method.name and name in option_of(field).choices
    assert callable(methods._named(method.trainer))
    assert role_of(method.role).name == method.role
    assert "{out}" in method.next_step
    makes_contexts = COMPRESSOR in method.graphs
    assert makes_contexts == (name in COMPRESSOR_METHODS)
    assert (makes_contexts or not method.graphs) == (name in CONTEXT_METHODS)


def test_every_choice_of_a_configuration_is_a_method() -> None:
    for config in config_classes():
        (field,) = (field for field in dataclasses.fields(config) if field.name == "method")
        assert option_of(field).choices == methods_of(config)


def test_an_unknown_method_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match="choose one of cd, pbft, .*did you mean 'mend'"):
        find_method("mnd")
    assert role_of_method("language-model", "context") == "context"
    assert not writes(None, (COMPRESSOR,))


def asked(*arguments: object) -> Result:
    """`edgecd train` with these arguments, made anew from the table."""
    app = typer.Typer()
    app.command("train")(make_command(train, config_classes()))
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_method_is_added_by_a_row_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(METHODS, TOY.name, TOY)
    assert config_classes()[-1] is ToyConfig
    tiny.write_jsonl(
        tmp_path / "train.jsonl",
        [{**row["fields"], "label": "contradiction"} for row in tiny.examples(4)],
    )
    (tmp_path / "task.toml").write_text(tiny.TASK)
    options = ("--task", tmp_path / "task.toml", "--out", tmp_path / "run", "--quiet")
    result = asked("--method", "toy", "--patience-of-saints", 5, *options)
    assert result.exit_code == 0, result.output
    assert f"next: edgecd toy {tmp_path / 'run'}" in result.output.replace("\n", "")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["method"], run["looked"], run["says"]) == ("toy", 5, "contradiction")
    help_text = asked("--help").output
    assert "toy" in help_text and "--patience-of-saints" in help_text
    assert role_of_method("toy", "context") == "student"


def test_without_its_row_it_is_none(tmp_path: Path) -> None:
    result = asked("--method", "toy", "--out", tmp_path / "run")
    assert isinstance(result.exception, InputError)
    assert "--method toy: choose one of cd, pbft, mend" in str(result.exception)
