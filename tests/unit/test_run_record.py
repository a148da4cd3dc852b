"""What others read of a training's run.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecd.errors import InputError
from edgecd.files import write_json
from edgecd.formats.run import RUN, Run, read_run

STUDENT = {
    "method": "cd",
    "teacher": "big",
    "student": "small",
    "seed": 3,
    "shots": 16,
    "max_length": 64,
    "task": {"name": "topics", "template": "{text} is about", "labels": {"a": " art", "b": " it"}},
}


def written(folder: Path, values: Any) -> Run:
    write_json(folder / RUN, values)
    return read_run(folder)


def test_a_students_run_is_read_whole(tmp_path: Path) -> None:
    run = written(tmp_path, {**STUDENT, "more": [1]})
    assert (run.method, run.teacher, run.student) == ("cd", "big", "small")
    assert (run.seed, run.shots, run.values["more"]) == (3, 16, [1])
    assert (run.task.name, run.task.max_length) == ("topics", 64)
    assert run.task.prompt.labels == ("a", "b")


def test_what_a_run_does_not_say_is_none(tmp_path: Path) -> None:
    run = written(tmp_path, {"method": "mend", "student": "small"})
    assert (run.teacher, run.seed, run.shots) == (None, None, None)
    with pytest.raises(InputError, match=r"run\.json is not of a run .*train the run again"):
        run.task  # noqa: B018


@pytest.mark.parametrize(
    "values", [[], 3, {"method": 1}, {"seed": "0"}, {"teacher": ["a"]}, {"shots": 1.5}]
)
def test_what_is_no_run_is_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(InputError, match=r"run\.json.*train the run again"):
        written(tmp_path, values)


def test_a_folder_without_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: no such file"):
        read_run(tmp_path)
