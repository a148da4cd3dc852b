"""`edgecd sweep` on tiny models: the smoke suite, locks, changes, failures."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from edgecd import cli
from edgecd.console import SILENT
from edgecd.errors import InputError
from edgecd.files import read_json, write_json
from edgecd.host import lock, processes
from edgecd.host.folders import claim
from edgecd.sweep.config import SweepConfig
from edgecd.sweep.record import read_sweep
from edgecd.sweep.run import HOLDS, run_sweep
from edgecd.sweep.suite import expand, load_suite
from tests.sweep_world import ROOT, SMALL, make_world
from tests.tiny_encoder_folders import encoder_folder

SMOKE = ROOT / "benchmarks" / "suites" / "smoke.toml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def small(world, **options):
    suite = Path(world["task"]).with_name("small.toml")
    return load_suite(suite, SweepConfig(**{**world, **options}))


@pytest.fixture
def here(monkeypatch):
    """Run cells in this process, which has PyTorch already; returns the names of those run."""
    from edgecd.sweep.cell import answer_spec

    names = []

    def run_module(module, arguments, threads, log, keep):
        spec, result = map(Path, arguments)
        names.append(spec.parent.name)
        write_json(result, answer_spec(read_json(spec), spec.parent))
        return 0

    monkeypatch.setattr(processes, "run_module", run_module)
    return names


def sweep(suite, out, force=False, **options):
    return run_sweep(suite, out, SweepConfig(threads=1, **options), SILENT, force)


def test_the_smoke_suite_from_end_to_end(world, tmp_path, here):
    suite = load_suite(SMOKE, SweepConfig(**world))
    result = sweep(suite, tmp_path / "out")
    cells = expand(suite)
    assert here == [cell.name for cell in cells]
    assert {cell.status for cell in result.cells} == {"done"} and result.failed == ()
    assert result == read_sweep(tmp_path / "out" / "sweep.json")
    rows = {(row.system, row.shots): row for row in result.aggregates.accuracy}
    assert rows["cd lora", 4].sets["other"].accuracy.n == 2
    assert rows["pbft full, vocabulary head", 4].sets["pairs"].examples == 16
    assert ("icl student, uncalibrated", 2) in rows and ("zero-shot student", 0) in rows
    table = (tmp_path / "out" / "table.md").read_text()
    assert "23 of 23 cells finished" in table and "| cd bitfit | pbft bitfit | 4 |" in table
    for cell in cells:
        kept = read_json(tmp_path / "out" / "cells" / cell.name / "result.json")
        if cell.kind != "scores":
            figures = kept["sets"]["pairs"]
            right = [p == e for p, e in zip(figures["predictions"], figures["expected"])]  # noqa: B905
            assert figures["accuracy"] == pytest.approx(sum(right) / 16)
        if cell.kind in ("cd", "pbft"):
            assert kept["seconds"]["scoring"] == 0, "a student paid for the teacher"
            memory = kept["memory"]
            assert memory["training_peak_rss_bytes"] >= 0.9 * memory["loaded_rss_bytes"]
    assert not list((tmp_path / "out").glob("cells/*/run/checkpoint"))
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert len(figures) == 6 and "fig1-accuracy-against-examples" in figures
    here.clear()
    assert sweep(suite, tmp_path / "out") == result and here == []


def test_demonstrations_are_those_that_the_teacher_saw(world, tmp_path, here):
    sweep(small(world, limit=4), tmp_path / "out", keep_checkpoints=True)
    cells = tmp_path / "out" / "cells"
    (answers,) = (cells / "icl-student-2-shots-seed-1" / "answers").glob("*.json")
    run = cells / "cd-lora-2-shots-seed-1" / "run"
    lines = [json.loads(line) for line in (run / "demonstrations.jsonl").open()]
    shown = [one for one in lines if one["draw"] == 0]
    context = read_json(answers)["context"]
    assert all(one["fields"]["premise"] in context for one in shown) and len(shown) == 2
    assert (run / "checkpoint" / "model.safetensors").exists()


def test_two_sweeps_on_one_folder_and_folders_of_something_else(world, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.2)
    claim(tmp_path / "out", HOLDS, force=False)
    with (
        lock.locked(tmp_path / "out", "sweep"),
        pytest.raises(InputError, match=f"another sweep .*process {os.getpid()}"),
    ):
        sweep(small(world), tmp_path / "out")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").touch()
    with pytest.raises(InputError, match="already exists"):
        sweep(small(world), tmp_path / "else")


def test_a_changed_suite_is_refused_and_forced_for_its_cells_only(
    world, tmp_path, here, monkeypatch
):
    text = Path(world["task"]).with_name("small.toml").read_text().replace("[0, 1]", "[0]")
    (tmp_path / "suite.toml").write_text(text)
    sweep(load_suite(tmp_path / "suite.toml", SweepConfig(**world)), tmp_path / "out")
    (tmp_path / "suite.toml").write_text(text.replace("epochs = 3", "epochs = 2"))
    changed = load_suite(tmp_path / "suite.toml", SweepConfig(**world))
    with pytest.raises(InputError, match="'pbft-bitfit-vocabulary-2-shots-seed-0' was started"):
        sweep(changed, tmp_path / "out")
    here.clear()
    sweep(changed, tmp_path / "out", force=True)
    assert here == ["pbft-bitfit-vocabulary-2-shots-seed-0"]


def test_an_adapter_that_a_model_does_not_have_is_a_note(world, tmp_path, here):
    student = str(Path(world["task"]).with_name("llama"))
    result = sweep(small(world, student=student, limit=4), tmp_path / "out")
    status = {cell.name: cell.status for cell in result.cells}
    assert status["pbft-bitfit-vocabulary-2-shots-seed-0"] == "skipped"
    assert status["cd-lora-2-shots-seed-0"] == "done" and result.failed == ()
    table = (tmp_path / "out" / "table.md").read_text()
    assert "skipped: pbft bitfit, vocabulary head: --adapter bitfit trains bias terms" in table


def test_a_cell_that_fails_is_told_and_tried_again(world, tmp_path, here, monkeypatch, capsys):
    works = processes.run_module

    def fails_at(name):
        def run_module(module, arguments, threads, log, keep):
            if Path(arguments[0]).parent.name != name:
                return works(module, arguments, threads, log, keep)
            log.write(b"first\nno memory is left\n")
            return -signal.SIGKILL

        return run_module

    command = ["edgecd", "sweep", str(Path(world["task"]).with_name("small.toml"))]
    command += [f"--{key}={world[key]}" for key in ("task", "teacher", "student")]
    command += ["--out", str(tmp_path / "out"), "--limit=4", "--quiet"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(processes, "run_module", fails_at("icl-student-2-shots-seed-0"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "these cells failed: icl-student-2-shots-seed-0" in said.err
    assert "was killed by SIGKILL (out of memory?): no memory is left" in said.out
    assert "7 of 8 cells finished" in said.out
    here.clear()
    monkeypatch.setattr(processes, "run_module", works)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and here == ["icl-student-2-shots-seed-0"]


def test_an_encoder_is_a_student_and_its_prompts_are_skipped_with_a_reason(world, tmp_path, here):
    text = SMALL.replace("seeds = [0, 1]", "seeds = [0]")
    text = text.replace('dtype = "float32"', 'dtype = "float32"\nmax_length = 64\nepochs = 1')
    suite = tmp_path / "suite.toml"
    suite.write_text(text)
    student = str(encoder_folder(tmp_path / "encoder"))
    found = sweep(load_suite(suite, SweepConfig(**{**world, "student": student})), tmp_path / "out")
    cells = {cell.name: cell for cell in found.cells}
    done = cells["cd-lora-2-shots-seed-0"]
    assert done.status == "done" and done.result.sets["pairs"].examples == 16
    for name, why in (
        ("icl-student-2-shots-seed-0", "is an encoder (bert), which predicts no words"),
        ("pbft-bitfit-vocabulary-2-shots-seed-0", "is an encoder, and predicts no words"),
    ):
        assert cells[name].status == "skipped" and why in cells[name].result.skipped
    assert "skipped: icl student: " in (tmp_path / "out" / "table.md").read_text()
