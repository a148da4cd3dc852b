"""What a training is given besides its options: somewhere to report to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reporter:
    """Where a training says things while it goes on.

    `say` takes a line for people; `progress` takes (what, done, total), as often as it likes.
    """

    say: Callable[[str], None]
    progress: Callable[[str, int, int], None]
