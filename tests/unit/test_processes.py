"""Processes of their own: what they answer, how they fail, and a folder that one holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecd.errors import InputError
from edgecd.host import lock
from edgecd.host.processes import Failure, ask, run_to_end

ROOT = Path(__file__).parents[2]
ECHO = """
import sys
from edgecd.host.processes import run_spec
print("heard")
sys.exit(run_spec(lambda spec: {"answer": spec["question"]}, *sys.argv[1:]))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a module of a text, for child processes; returns its name."""

    def make(text: str) -> str:
        (tmp_path / "some_program.py").write_text(text)
        return "some_program"

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return make


def test_a_module_answers_a_spec_and_leaves_its_files_where_it_is_told(program, tmp_path):
    asked = {"question": [1, 2]}
    assert ask(program(ECHO), asked, 1) == {"answer": [1, 2]}
    assert ask(program(ECHO), asked, 1, tmp_path / "kept") == {"answer": [1, 2]}
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["log.txt", "result.json", "spec.json"]
    assert (tmp_path / "kept" / "log.txt").read_text() == "heard\n"


@pytest.mark.parametrize(
    ("text", "ending", "last"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL (out of memory?)", ()),
        ("import sys; print('a'); sys.exit('no luck')", "ended with code 1", ("a", "no luck")),
        ("print('nothing to do')", "left no result", ("nothing to do",)),
    ],
)
def test_a_process_without_an_answer_tells_how_it_ended(program, tmp_path, text, ending, last):
    (tmp_path / "result.json").write_text("{}")  # an older one does not count
    found = ask(program(text), {}, 1, tmp_path)
    assert isinstance(found, Failure) and found.ending == ending
    assert sorted(found.last_words) == sorted(last)  # two streams: in either order
    assert str(Failure("ended", ("a", "b"))) == "ended\n  a\n  b"


def test_a_program_runs_to_its_end(program):
    assert run_to_end(program("import sys; assert sys.argv[1:] == ['x']"), ["x"], 1) is None
    failure = run_to_end(program("raise SystemExit('never')"), [], 1)
    assert failure == Failure("ended with code 1", ("never",))


def test_a_folder_is_held_by_one_and_the_other_is_told_who(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.1)
    with (
        lock.locked(tmp_path, "meta-test"),
        pytest.raises(InputError, match=f"another meta-test .*process {os.getpid()}"),
        lock.locked(tmp_path, "meta-test"),
    ):
        pass
    with lock.locked(tmp_path, "meta-test"):
        pass


PLANTED = "raise SystemExit('the planted file was run')\n"
IMPORTS = "import sys, json, random, numpy, edgecd.cli; sys.exit(0)"


@pytest.fixture
def foreign_folder(tmp_path: Path, monkeypatch) -> Path:
    """The working directory, as somebody else left it."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("numpy", "json", "edgecd", "onnxruntime", "sitecustomize"):
        (folder / f"{name}.py").write_text(PLANTED)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("relative", ["", ".", "./"])
def test_a_process_imports_nothing_from_the_working_directory(
    foreign_folder, program, monkeypatch, relative
):
    name = program(IMPORTS)
    given = os.environ["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([relative, given]) if relative else given)
    assert run_to_end(name, [], 1) is None


def test_the_command_imports_nothing_from_the_working_directory(foreign_folder, monkeypatch):
    (foreign_folder / "edgecd.py").unlink()
    (foreign_folder / "sitecustomize.py").unlink()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "edgecd", "doctor"], capture_output=True, text=True
    )
    assert "planted" not in done.stdout + done.stderr and done.returncode == 0


def test_a_checkout_that_nobody_installed_finds_itself(program, monkeypatch):
    name = program(IMPORTS)
    monkeypatch.setattr(sys, "path", ["", *[p for p in sys.path if p not in ("", str(ROOT))]])
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].split(os.pathsep)[0])
    monkeypatch.chdir(ROOT)
    assert run_to_end(name, [], 1) is None
