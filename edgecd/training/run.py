"""What the parts of one training work with: what was asked, where it goes, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.console import Reporter

if TYPE_CHECKING:
    import torch

    from edgecd.tasks.task import Task
    from edgecd.training.account import Account
    from edgecd.training.config import TrainConfig


@dataclass(frozen=True)
class Session:
    """One training of a student: `out` is its run folder, `account` what it costs."""

    task: Task
    config: TrainConfig
    device: torch.device
    out: Path
    reporter: Reporter
    account: Account

    def progress(self, what: str) -> Callable[[int, int], None]:
        """What takes (done, total) of a part, reports it, and keeps the account."""

        def progress(done: int, total: int) -> None:
            self.account.tick()
            self.reporter.progress(what, done, total)

        return progress
