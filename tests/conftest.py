"""What all tests share."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and lose much when other work is on the machine."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
