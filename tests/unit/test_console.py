"""What a person sees of long work: bars in a terminal, lines in a log, nothing with --quiet."""

from __future__ import annotations

import time

import pytest

from edgecd import console
from edgecd.console import Console, duration

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log's line is due every 50 ms."""
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.05)


def test_a_log_gets_a_line_now_and_then_with_what_is_left(often: None, capsys: Capture) -> None:
    with Console(False) as shown:
        for done in range(51):
            shown.progress("training", done, 50)
            time.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 15
    assert all(line.startswith("training: ") for line in lines)
    assert "of 50, " in lines[1] and "about " in lines[1] and lines[1].endswith(" left")
    assert lines[-1].startswith("training: 50 of 50, ")


def test_a_log_says_that_silent_work_goes_on(often: None, capsys: Capture) -> None:
    with Console(False) as shown:
        shown.say("a long line " * 20)
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a long line " * 20  # not wrapped
    assert len(lines) >= 2 and all(line.endswith("... 0 s") for line in lines[1:])


def test_a_log_of_short_work_has_no_progress(capsys: Capture) -> None:
    with Console(False) as shown:
        shown.progress("predict", 5, 10)
        shown.progress("predict", 10, 10)
    assert capsys.readouterr().err == ""


def test_quiet_is_quiet(often: None, capsys: Capture) -> None:
    with Console(True) as shown:
        shown.say("a line")
        shown.progress("training", 1, 2)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_an_estimate(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with Console(False) as shown:
        shown.say("a line")
        for done in range(3):
            shown.progress("training", done, 4)
            time.sleep(0.02)
    seen = capsys.readouterr().err
    assert all(part in seen for part in ("a line", "training", "2/4", "left"))


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.4, "3 s"), (89, "89 s"), (90, "2 min"), (3700, "1 h 2 min")]
)
def test_times_are_told_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
