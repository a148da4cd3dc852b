"""A training that is replaced, doubled or damaged: nothing is lost, and words are for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.host import lock
from edgecd.training import distil, loop
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from tests import sweep_world
from tests.killed import of_run

SILENT = Reporter(lambda line: None, lambda what, done, total: None)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> TrainConfig:
    world = sweep_world.make_world(tmp_path_factory.mktemp("world"))
    return TrainConfig(
        task=world["task"],
        teacher=world["teacher"],
        student=world["student"],
        shots=4,
        transfer=48,
        heldout=16,
        lr=1e-3,
        dtype="float32",
    )


@pytest.fixture(scope="module")
def left_alone(asked, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("left-alone") / "run"
    train(asked, out, SILENT)
    return out


@pytest.fixture(scope="module")
def outcome(left_alone) -> str:
    return of_run(left_alone)


def scores(run: Path) -> dict[tuple[str, str], list[float]]:
    rows = [
        (file.stem, json.loads(line))
        for file in (run / "scores").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return {(mark, row["id"]): row["log_probabilities"] for mark, row in rows}


def interrupted(asked: TrainConfig, out: Path, monkeypatch, **how: bool) -> None:
    """A training that is stopped when a part of its steps is saved."""

    def progress(what: str, done: int, total: int) -> None:
        if what == "training" and done > total / 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(asked, out, Reporter(lambda line: None, progress), **how)


def test_a_run_that_is_replaced_goes_when_the_new_one_is_complete(
    asked, outcome, tmp_path, monkeypatch
):
    out, aside = tmp_path / "run", tmp_path / ".run.replaced"
    train(asked, out, SILENT)
    other = replace(asked, seed=1)
    interrupted(other, out, monkeypatch, force=True)
    assert of_run(aside) == outcome
    interrupted(other, out, monkeypatch, force=True)  # the unfinished one takes nobody's place
    assert of_run(aside) == outcome
    train(other, out, SILENT, resume=True)
    assert not aside.exists() and of_run(out) != outcome


def test_a_run_is_held_by_one_training(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.1)
    second: list[str] = []

    def say(line: str) -> None:
        if not second:
            second.append("tried")
            with pytest.raises(InputError, match="another training is at work there") as refused:
                train(asked, tmp_path / "run", SILENT, resume=True)
            second.append(str(refused.value))

    def progress(what: str, done: int, total: int) -> None:
        if what == "training":
            say(what)

    train(asked, tmp_path / "run", Reporter(lambda line: None, progress))
    assert "wait for its end" in second[1]


def test_two_trainings_that_share_scores_compute_them_once(asked, outcome, tmp_path):
    shared = replace(asked, scores=str(tmp_path / "scores"))
    said: list[str] = []
    with ThreadPoolExecutor(2) as both:
        runs = [
            both.submit(
                distil.score_all,
                *_scoring(replace(shared, seed=0), tmp_path / name, said.append),
            )
            for name in ("one", "other")
        ]
        found = [run.result().by_id for run in runs]
    assert found[0].keys() == found[1].keys()
    for file in (tmp_path / "scores").glob("*.jsonl"):
        names = [json.loads(line)["id"] for line in file.read_text().splitlines()]
        assert len(names) == len(set(names)) > 0


def _scoring(config: TrainConfig, folder: Path, say: Callable[[str], None]):
    """What `score_all` takes, for a run that has not trained yet."""
    import time

    import torch

    from edgecd.tasks.task import load_task
    from edgecd.training.account import Account
    from edgecd.training.examples import choose_examples
    from edgecd.training.run import Session

    folder.mkdir()
    task, device = load_task(config.task), torch.device("cpu")
    account = Account(folder / "account.json", device, time.monotonic())
    reporter = Reporter(say, lambda what, done, total: None)
    examples = choose_examples(task, config, say)
    return Session(task, config, device, folder, reporter, account), examples


@pytest.mark.parametrize(
    "damage",
    [b"\x00\xff\n", b'{"id": "train-1"}\n', b'{"id": 1, "text": 2, "log_probabilities": "x"}\n'],
)
def test_damaged_scores_are_computed_again(asked, left_alone, tmp_path, monkeypatch, damage):
    interrupted(asked, tmp_path / "run", monkeypatch)
    for file in (tmp_path / "run" / "scores").glob("*.jsonl"):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([damage, *lines[1:], b'{"cut off']))
    train(asked, tmp_path / "run", SILENT, resume=True)
    found, expected = scores(tmp_path / "run"), scores(left_alone)
    assert found.keys() == expected.keys()  # in other batches now, so not to the last bit
    for name, row in found.items():
        assert row == pytest.approx(expected[name], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.toml", "lr = ", "not valid TOML"),
        ("config.toml", "depth = 3", "other options"),
        ("run.json", "{", "not valid JSON"),
        ("run.json", "[]", "is damaged"),
        ("state/state.json", "{}]", "not valid JSON"),
        ("state/step-*.safetensors", "cut", "is damaged or missing"),
        ("state/account.json", '{"seconds": "x"}', "account.json"),
    ],
)
def test_a_damaged_run_says_which_file_and_the_cure(
    asked, tmp_path, monkeypatch, name, content, said
):
    out = tmp_path / "run"
    interrupted(asked, out, monkeypatch)
    for path in list(out.glob(name)) or [out / name]:
        path.write_text(content)
    with pytest.raises(InputError, match=said) as refused:
        train(asked, out, SILENT, resume=True)
    assert str(out) in str(refused.value) and "\n" not in str(refused.value)


def test_a_log_with_a_damaged_line_is_gone_on_with(asked, outcome, tmp_path, monkeypatch):
    out = tmp_path / "run"
    interrupted(asked, out, monkeypatch)
    log = out / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + b"\xff\xfe\n[3]\n{}\n")
    train(asked, out, SILENT, resume=True)
    assert of_run(out) == outcome


def test_a_model_inside_the_folder_that_is_replaced_is_an_input(asked, tmp_path):
    out = tmp_path / "run"
    train(asked, out, SILENT)
    again = replace(asked, student=str(out / "checkpoint"))
    with pytest.raises(InputError):
        train(again, out, SILENT, force=True)
    assert (out / "run.json").exists()
