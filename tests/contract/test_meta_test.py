"""`meta_test` in this process: what is kept, what is asked again, and who may write."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edgecd.console import Reporter
from edgecd.contexts.config import MendConfig, MetaTestConfig
from edgecd.contexts.meta_record import read_meta_rows, read_meta_test
from edgecd.contexts.meta_test import RESULT, ROWS, meta_test
from edgecd.contexts.train import train_distiller
from edgecd.errors import InputError
from edgecd.host import lock
from tests import mend_world

QUIET = Reporter(lambda line: None, lambda what, done, total: None)
ONE = MetaTestConfig(seeds=(13,), limit=4, shots=(2,), prompt_steps=0, device="cpu")


def test_a_meta_test_is_kept_and_goes_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = mend_world.make_world(tmp_path)
    options = mend_world.mend_options(world, pretrain_steps=0, steps=0)
    train_distiller(MendConfig(**options), world / "run", QUIET)
    runs, out = [world / "run"], tmp_path / "out"
    said: list[str] = []
    result = meta_test(runs, out, ONE, report=said.append)
    assert result == read_meta_test(out / RESULT) and len(said) == len(result.found.rows) == 4
    assert [row.system for row in result.found.rows] == ["zero-shot", "icl", "matching-4", "run"]
    lines = (out / ROWS).read_text().splitlines(keepends=True)
    (out / ROWS).write_text("".join(lines[:2]) + lines[2][:9])  # as after a kill
    said.clear()
    assert meta_test(runs, out, ONE, report=said.append) == result and len(said) == 2
    assert read_meta_rows(out / ROWS) == list(result.found.rows)
    with pytest.raises(InputError, match="other options or runs"):
        meta_test(runs, out, replace(ONE, limit=5))
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.1)
    with (
        lock.locked(out, "meta-test"),
        pytest.raises(InputError, match=f"another meta-test .*process {os.getpid()}"),
    ):
        meta_test(runs, out, ONE)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").touch()
    with pytest.raises(InputError, match="already exists"):
        meta_test(runs, tmp_path / "else", ONE)
