"""Hostile files of every kind: an answer, or one line that says why; thousands by hand in
benchmarks/robustness/fuzz.py."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import EdgecdError
from tests.hostile.readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_a_hostile_file_is_read_or_refused(name: str) -> None:
    reader = READERS[name]

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 1 << 60))
    def check(seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            reader.make(Random(f"{name} {seed}"), Path(folder))
            try:
                reader.read(Path(folder))
            except EdgecdError as refused:
                assert len(str(refused)) < 20_000

    check()
