"""`edgecd check`: what a training would refuse, told before anything is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("peft")

from edgecd.cli.checking import _show
from edgecd.console import Console
from edgecd.tasks.task import load_task
from edgecd.training.check import check
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from edgecd.training.run import Reporter
from tests import tiny
from tests.tiny_encoder_folders import encoder_folder

BOTH = ("teacher", "student")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("check")
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        tokenizer = tiny.tiny_tokenizer()
        model = tiny.tiny_causal_lm(family, len(tokenizer), max_position_embeddings=2048)
        tiny.save_model(model, tokenizer, root / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(120)]
    tiny.write_jsonl(root / "train.jsonl", rows[:80])
    tiny.write_jsonl(root / "validation.jsonl", rows[80:])
    (root / "task.toml").write_text(tiny.TASK)
    return root


def config(world, **changes):
    asked = TrainConfig(
        task=str(world / "task.toml"),
        teacher=str(world / "teacher"),
        student=str(world / "student"),
        transfer=64,
        heldout=40,
        device="cpu",
    )
    return replace(asked, **changes)


def test_a_good_task_is_ok_and_says_how_long_it_takes(world):
    asked = config(world)
    found = check(load_task(asked.task), asked, BOTH, timed=True)
    assert found.ok and found.faults == () and found.shots.number == 16
    teacher, student = found.models
    assert teacher.words == student.words
    assert {len(tokens) for tokens in teacher.words.values()} == {1}
    assert teacher.context_tokens > 16 * 10 and student.context_tokens == 0
    assert 0 < teacher.lengths.mean <= teacher.lengths.longest < 256
    assert 0 < found.estimate.scoring_s < 60 and 0 < found.estimate.training_s < 60


def test_people_see_every_label_its_tokens_and_what_to_do(world, capsys):
    asked = config(world, shots=8, max_length=24)
    found = check(load_task(asked.task), asked, BOTH, timed=False)
    _show(Console(False), found)
    shown = capsys.readouterr().out
    for part in ("entailment", "ĠTrue", "tokens of an input", "teacher", "at 24"):
        assert part in shown
    assert "8 demonstrations show 2 of 2 labels\n" in shown
    assert "will lose their end" in shown and shown.endswith("nothing to mend\n")


def test_an_encoder_student_reads_the_fields_and_no_words(world, tmp_path):
    asked = config(world, student=str(encoder_folder(tmp_path)), max_length=24)
    found = check(load_task(asked.task), asked, BOTH, timed=True)
    _, student = found.models
    assert found.ok and student.reads == "pair" and student.words == {}
    assert student.lengths.shortened > 0
    assert any("student: " in line and "lose their end" in line for line in found.remarks)
    assert found.estimate.training_s > 0


@pytest.mark.parametrize(
    ("change", "asked", "told"),
    [
        (('" True"', '" Entailed"'), {}, "its word ' Entailed' is not one token of its own"),
        (("task", "task"), {"max_length": 1700}, "up to 1700 of input are more than the"),
        (("task", "task"), {"teacher": "nowhere/at/all"}, "teacher: nowhere/at/all: no such"),
        (("task", "task"), {"shots": 200}, "200 shots need 100 labelled examples"),
        (("task", "task"), {"adapter": "bitfit"}, "use --adapter lora"),
    ],
)
def test_what_training_refuses_is_a_fault(world, tmp_path, change, asked, told):
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text((world / f"{name}.jsonl").read_text())
    (tmp_path / "task.toml").write_text(tiny.TASK.replace(*change))
    asked = config(world, task=str(tmp_path / "task.toml"), **asked)
    found = check(load_task(asked.task), asked, BOTH, timed=True)
    assert not found.ok and found.estimate is None
    assert any(told in fault for fault in found.faults), found.faults


def test_training_says_what_stands_out_and_shows_every_label(world, tmp_path):
    rows = (world / "train.jsonl").read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["label"] == "entailment"]
    others = [row for row in rows if json.loads(row)["label"] != "entailment"][:5]
    again = {**json.loads(kept[0]), "id": "again"}
    (tmp_path / "train.jsonl").write_text("\n".join([*kept, *others, json.dumps(again)]))
    (tmp_path / "validation.jsonl").write_text("\n".join([rows[-1], *rows[:9]]))
    (tmp_path / "task.toml").write_text(tiny.TASK)
    said: list[str] = []
    asked = config(world, task=str(tmp_path / "task.toml"), epochs=1.0, context_draws=1)
    run = train(asked, tmp_path / "run", Reporter(said.append, lambda *_: None))
    assert run["shots"] == 4
    assert "4 demonstrations, as many of each of 2 labels (--shots)" in said
    notes = [line for line in said if line.startswith("note: ")]
    assert any("1 row repeat the text" in line for line in notes)
    assert any("rows are in train, too" in line for line in notes)
    assert any("of the labels are entailment" in line for line in notes)


def edgecd(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "edgecd", "check", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout=600,
    )


def test_the_command_takes_models_and_options_from_the_project(world, tmp_path):
    (tmp_path / "edgecd.toml").write_text(
        f'task = "{world}/task.toml"\nteacher = "{world}/teacher"\nstudent = "{world}/student"\n'
        "[train]\nshots = 8\nmax_length = 64\n"
    )
    done = edgecd("--json", "--no-estimate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] and found["shots"]["number"] == 8 and found["estimate"] is None
    assert [one["role"] for one in found["models"]] == ["teacher", "student"]
    assert {one["lengths"]["max_length"] for one in found["models"]} == {64}


def test_without_models_the_data_alone_are_looked_at_and_faults_exit_with_1(world, tmp_path):
    (tmp_path / "task.toml").write_text(tiny.TASK)
    rows = '{"premise": "a", "hypothesis": "b", "label": "Entailment"}\n'
    (tmp_path / "train.jsonl").write_text(rows)
    done = edgecd("task.toml", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert 'label_map = { "Entailment" = "entailment" }' in done.stdout
    assert "validation.jsonl: no such file" in done.stdout
    assert "2 things to mend before training" in done.stderr
    assert edgecd(cwd=tmp_path).returncode == 2
