"""What a stranger wrote into a file can neither move a terminal nor fill it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecd.console import Console
from edgecd.errors import for_terminal
from edgecd.files import json_line
from edgecd.formats.manifest import MANIFEST
from tests import foreign

ROOT = Path(__file__).parents[2]
EVIL = "\x1b[31m\x07\x9b2J\u202eyes"
LABELS = (EVIL, "no")
WORDS = {EVIL: " Yes\x1b]0;title\x07", "no": " No"}


def edgecd(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgecd", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def harmless(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evil") / "bundle"
    return foreign.bundle(
        folder,
        labels=LABELS,
        verbalizer=WORDS,
        task="t\x1b[2Jask",
        provenance={"teacher\x1b[1m": "x" * 300_000, "no\x9bte": ["\x07"] * 5},
    )


def test_nothing_of_a_bundle_reaches_the_terminal_as_it_is(bundle: Path) -> None:
    for command in (
        ["inspect", bundle],
        ["predict", bundle, "the cat"],
        ["predict", bundle, "the cat", "--top", "2"],
        ["verify", bundle],
    ):
        done = edgecd(*command)
        assert harmless(done.stdout) and harmless(done.stderr), command
        assert len(done.stdout) < 100_000
    assert "\\x1b[31m" in edgecd("inspect", bundle).stdout


def test_as_json_it_is_the_same_value_and_harmless(bundle: Path) -> None:
    for command in (["inspect", bundle, "--json"], ["predict", bundle, "the cat", "--json"]):
        done = edgecd(*command)
        assert harmless(done.stdout)
        assert EVIL in json.dumps(json.loads(done.stdout), ensure_ascii=False).replace(
            json.dumps(EVIL, ensure_ascii=False)[1:-1], EVIL
        )


def test_a_message_shows_escapes_and_is_cut(tmp_path: Path) -> None:
    folder = foreign.bundle(tmp_path / "bundle")
    path = folder / MANIFEST
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**raw, "precision": "\x1b[31m"}), encoding="utf-8")
    done = edgecd("predict", folder, "the cat")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and harmless(done.stderr)
    done = edgecd("predict", folder, "--field", "x" * 100_000)
    assert done.returncode == 2 and harmless(done.stderr) and len(done.stderr) < 25_000


def test_a_console_shows_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=False) as console:
        console.say(EVIL)
        console.show(EVIL)
        console.table(EVIL, [{EVIL: EVIL}])
        console.listing({EVIL: {EVIL: EVIL}, "b": [EVIL]})
    shown = capsys.readouterr()
    assert harmless(shown.out) and harmless(shown.err)


@given(st.text())
def test_shown_text_is_harmless_and_json_stays_what_it_is(text: str) -> None:
    assert all(x.isprintable() or x in "\n\u200c\u200d" or x.isspace() for x in for_terminal(text))
    assert "\x1b" not in for_terminal(text) and "\r" not in for_terminal(text)
    assert json.loads(json_line({text: [text]})) == {text: [text]}
    assert json_line(text).isprintable()


def test_letters_of_all_scripts_and_emoji_are_shown() -> None:
    text = "naïve 日本語\u3000हिन्दी العربية 👩\u200d💻\u00a0x"
    assert for_terminal(text) == text
    assert for_terminal("a" * 30_000).endswith("... (30,000 characters)")
