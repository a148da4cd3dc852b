"""What all tests share."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("hypothesis") is not None:
    from hypothesis import settings

    # Other work on the machine is no failure; a test that hangs has pytest's timeout.
    settings.register_profile("edgecd", deadline=None)
    settings.load_profile("edgecd")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and lose much when other work is on the machine."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
