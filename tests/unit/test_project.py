"""edgecd.toml, and what train, export and bench choose where nobody says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgecd.bench.config import BenchConfig
from edgecd.cli.asked import Asked
from edgecd.cli.choices import choose_bench, choose_export, choose_training
from edgecd.cli.project import read_project
from edgecd.contexts.methods import config_classes
from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from tests import tiny

KINDS = {"train": config_classes(), "export": (ExportConfig,), "bench": (BenchConfig,)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def project(text: str) -> None:
    Path("edgecd.toml").write_text(text)


def asked(command: str, **flags: Any) -> Asked:
    return Asked(KINDS[command], None, flags)


def a_run(name: str, age: int, status: str = "done", **values: Any) -> Path:
    """A run folder, the older the larger its age."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    made = {"status": status, "method": "cd", "student": "s", "seed": age, **values}
    (folder / "run.json").write_text(json.dumps(made))
    for file in folder.iterdir():
        os.utime(file, (10_000 - age, 10_000 - age))
    return folder


def a_bundle(name: str, age: int, seed: int) -> Path:
    """A manifest as of a run with that seed; none of its files."""
    folder = Path("bundles") / name
    folder.mkdir(parents=True)
    record = {"sha256": "0" * 64, "size_bytes": 1}
    manifest = {
        **{"format": 2, "task": "pairs", "labels": list(tiny.LABELS), "verbalizer": tiny.LABELS},
        **{"template": tiny.TEMPLATE, "max_length": 64, "pad_token_id": 0, "prefix_ids": []},
        **{"precision": "int8", "inputs": {}, "outputs": {}, "samples": []},
        "parity": {
            **dict.fromkeys(("examples", "label_flips", "max_abs_logit_diff"), 1),
            **dict.fromkeys(("accuracy_checkpoint", "accuracy_bundle")),
        },
        "provenance": {"student": "s", "method": "cd", "seed": seed},
        "files": {"model.onnx": record, "tokenizer.json": record},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    os.utime(folder / "manifest.json", (10_000 - age, 10_000 - age))
    return folder


def test_flags_win_over_the_project_and_the_project_over_the_defaults() -> None:
    project(
        'task = "rte"\nteacher = "big"\nstudent = "small"\nname = "mine"\n'
        "[train]\nshots = 4\nepochs = 2\n"
        '[export]\nprecision = "int4"\nmax_flips = 3\n[bench]\nlimit = 7\n'
    )
    chosen = choose_training(asked("train", shots=8), None, False, False)
    request = chosen.request
    assert (request.task, request.teacher, request.student) == ("rte", "big", "small")
    assert (request.shots, request.epochs, request.alpha) == (8, 2.0, 0.8)
    assert chosen.out == Path("runs/mine")
    assert chosen.line == "edgecd.toml: task rte, teacher big, student small -> runs/mine"
    a_run("mine", 1)
    export = choose_export(asked("export"), None, None)
    assert (export.request.precision, export.request.max_flips) == ("int4", 3.0)
    assert export.line == "runs/mine (int4) -> bundles/mine-int4"
    other = choose_export(asked("export", target="web"), None, None)
    assert (other.request.precision, other.out) == (None, Path("bundles/mine-web"))
    bench = choose_bench(asked("bench"), [a_bundle("mine-int4", 1, 9)], None)
    assert (bench.request.task, bench.request.limit) == ("rte", 7)
    assert bench.out == Path("reports/mine-int4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('taks = "rte"\n', "edgecd.toml: unknown key 'taks'; did you mean 'task'?"),
        ("[train]\nshot = 4\n", "edgecd.toml: [train]: unknown key 'shot'; did you mean 'shots'?"),
        ("[exports]\n", "edgecd.toml: unknown key 'exports'; did you mean 'export'?"),
        ("[bench]\nlimits = 4\n", "[bench]: unknown key 'limits'; did you mean 'limit'?"),
        ("task = 3\n", "edgecd.toml: task = 3 is not text"),
        ("train = 3\n", "edgecd.toml: train must be a table of options: [train]"),
        ('[train]\nmethod = "magic"\n', "--method magic: choose one of cd"),
        ("task = \n", "edgecd.toml: not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_project_file_is_said(text: str, message: str) -> None:
    project(text)
    with pytest.raises(InputError) as said:
        read_project()
    assert message in str(said.value)


def test_a_value_of_another_type_names_the_project_file() -> None:
    project('[train]\nshots = "many"\n')
    with pytest.raises(InputError, match=r"edgecd\.toml: shots = 'many' is not int"):
        choose_training(asked("train"), None, False, False)


def test_without_a_project_train_says_that_it_takes_the_defaults() -> None:
    chosen = choose_training(asked("train"), None, False, False)
    assert chosen.line == (
        "no edgecd.toml here, so by default: task mnli, teacher facebook/opt-1.3b, "
        "student facebook/opt-125m -> runs/mnli"
    )


def test_a_training_takes_the_next_free_folder() -> None:
    def chosen(resume: bool = False, force: bool = False) -> str:
        return str(choose_training(asked("train", task="rte"), None, resume, force).out)

    assert chosen() == chosen(resume=True) == "runs/rte"
    a_run("rte", 9)
    a_run("rte-model", 1)  # another name
    assert chosen() == "runs/rte-2"
    assert chosen(resume=True) == chosen(force=True) == "runs/rte"
    a_run("rte-2", 5, status="training")
    with pytest.raises(InputError, match="runs/rte-2 was not finished: --resume goes on with it"):
        chosen()
    assert chosen(resume=True) == chosen(force=True) == "runs/rte-2"


def test_a_name_that_no_folder_can_have_is_refused() -> None:
    project('task = "rte"\nname = "a/b"\n')
    with pytest.raises(InputError, match="'a/b' cannot name a folder"):
        choose_training(asked("train"), None, False, False)


def test_export_takes_the_newest_finished_run() -> None:
    with pytest.raises(InputError, match="`edgecd train` makes one"):
        choose_export(asked("export"), None, None)
    a_run("cut", 1, status="training")
    with pytest.raises(InputError, match="runs/cut was not finished: `edgecd train --resume`"):
        choose_export(asked("export"), None, None)
    a_run("old", 9)
    a_run("new", 5)
    a_run("tuned", 2, method="prompt-tuning")  # nothing to export
    found = choose_export(asked("export", precision="int8"), None, None)
    assert (found.run, found.out) == (Path("runs/new"), Path("bundles/new-int8"))
    given = choose_export(asked("export"), Path("runs/old"), Path("here"))
    assert (given.run, given.out) == (Path("runs/old"), Path("here"))
    with pytest.raises(InputError, match="name its folder or id"):
        choose_export(asked("export", task="rte"), None, None)


def test_bench_takes_the_newest_bundles_with_their_run_and_its_task() -> None:
    with pytest.raises(InputError, match="`edgecd export --int8` makes one"):
        choose_bench(asked("bench"), [], None)
    a_run("one", 9, task={"source": "rte"})
    a_run("two", 5, task={"source": "sst2"})
    for name, age, seed in (("two-fp32", 4, 5), ("one-int8", 3, 9), ("one-fp32", 2, 9)):
        a_bundle(name, age, seed)
    found = choose_bench(asked("bench"), [], None)
    assert found.bundles == [Path("bundles/one-fp32"), Path("bundles/one-int8")]
    assert (found.request.task, found.request.run) == ("rte", Path("runs/one"))
    assert found.line == ("bundles/one-fp32, bundles/one-int8 of runs/one, task rte -> reports/one")
    given = choose_bench(asked("bench"), [Path("bundles/two-fp32")], None)
    assert (given.request.task, given.request.run) == ("sst2", Path("runs/two"))
    plain = choose_bench(asked("bench", task="mnli"), [Path("bundles/two-fp32")], Path("r"))
    assert (plain.request.task, plain.request.run, plain.out) == ("mnli", None, Path("r"))


def test_bench_asks_for_the_task_where_nobody_tells_it() -> None:
    a_bundle("alone", 1, 1)
    with pytest.raises(InputError, match="give --task T"):
        choose_bench(asked("bench"), [], None)


def test_a_task_file_that_was_moved_is_taken_from_the_project() -> None:
    a_run("one", 9, task={"source": "/nowhere/task.toml"})
    a_bundle("one-int8", 1, 9)
    project('task = "rte"\n')
    assert choose_bench(asked("bench"), [], None).request.task == "rte"
