"""What the system refuses is one line with the cure, and exit code 2."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from edgecd import cli
from edgecd.host.faults import system_fault


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "out/a"), "out/a: the disk is full: free some"),
        (PermissionError(errno.EACCES, "denied", "out"), "out: permission denied: choose"),
        (OSError(errno.EROFS, "read-only", "out"), "read-only file system"),
        (OSError(errno.ENAMETOOLONG, "too long", "x"), "choose a shorter one"),
        (IsADirectoryError(errno.EISDIR, "is a dir", "x"), "x: it is a folder where a file"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), "a -> b: Cross-device link"),
        (OSError("only words"), "only words"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "not enough memory"),
    ],
)
def test_a_fault_of_the_system_says_where_and_the_cure(error, said):
    assert said in str(system_fault(error))


def test_an_error_of_the_program_is_none_of_the_systems():
    assert system_fault(ValueError("a bug")) is None


def test_weights_that_cannot_be_written_say_why(tmp_path: Path):
    import numpy as np

    with pytest.raises(Exception) as caught:
        save_file({"a": np.zeros(2)}, tmp_path / "nowhere" / "a.safetensors")
    assert "there is no such file" in str(system_fault(caught.value))


def test_the_command_line_shows_one_line(monkeypatch, capsys):
    def app(**options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/scores")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: run/scores: the disk is full") and said.count("\n") == 1
