"""What `edgecd bench` is asked: its options on the command line, and what may be published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgecd.bench import run
from edgecd.bench.config import BenchConfig
from edgecd.cli import app
from edgecd.errors import InputError
from tests.reports import read, small_report


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> BenchConfig:
    """The configuration that the command makes of its options."""
    seen: list[BenchConfig] = []

    def bench(bundles: Any, config: BenchConfig, *rest: Any) -> Any:
        seen.append(config)
        return read(small_report())

    monkeypatch.setattr(run, "bench", bench)
    command = ["bench", "bundle", "--out", "out", "--quiet", *words]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    return seen[0]


def test_options_become_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = asked(monkeypatch, "--task", "mnli")
    assert plain == BenchConfig("mnli")
    assert (plain.few_shots, plain.roles, plain.prompt_runtimes) == ((4, 8), None, None)
    words = "--task mnli --ood hans --ood rte --few-shots 4,16 --baselines teacher-icl-cached"
    words += " --context a.safetensors --context b.safetensors --peers all --rounds 2"
    assert asked(monkeypatch, *words.split()) == BenchConfig(
        "mnli",
        ood=("hans", "rte"),
        few_shots=(4, 16),
        baselines=("teacher-icl-cached",),
        context=(Path("a.safetensors"), Path("b.safetensors")),
        peers=("all",),
        rounds=2,
    )


def test_none_is_no_row_and_all_is_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    none = asked(monkeypatch, "--task", "mnli", "--baselines", "none", "--few-shots", "none")
    assert (none.roles, none.few_shots) == ((), ())
    assert asked(monkeypatch, "--task", "mnli", "--baselines", "all").roles is None


def test_options_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "task.toml").write_text("")
    file = tmp_path / "bench.toml"
    file.write_text('task = "task.toml"\nood = ["hans"]\nfew_shots = [2]\nrounds = 5\n')
    found = asked(monkeypatch, "--config", str(file), "--rounds", "1")
    assert found == BenchConfig(
        str(tmp_path / "task.toml"), ood=("hans",), few_shots=(2,), rounds=1
    )


@pytest.mark.parametrize("name", ["rounds", "draws", "limit"])
def test_at_least_one_is_needed(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} 0: must be 1 or more"):
        BenchConfig("mnli", **{name: 0})


def test_paths_are_published_by_their_last_part() -> None:
    told = BenchConfig(
        "/home/me/task.toml", ood=("/home/me/far.toml", "hans"), run=Path("/home/me/run")
    ).published()
    assert (told["task"], told["ood"], told["run"]) == ("task.toml", ["far.toml", "hans"], "run")
    assert json.loads(json.dumps(told)) == told
