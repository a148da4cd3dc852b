"""What a sweep is asked to do, beside its suite and its folder."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.config import option


@dataclass(frozen=True)
class SweepConfig:
    """Every option of `edgecd sweep`: what replaces the suite's own, and how its cells are run.

    None and () leave the suite's. `limit` is of each data set; `threads` None takes every core.
    """

    task: str | None = option(None, help="Instead of the suite's task.")
    ood: tuple[str, ...] = option((), help="Instead of the suite's.")
    teacher: str | None = option(None, help="Instead of the suite's teacher.")
    student: str | None = option(None, help="Instead of the suite's student.")
    limit: int | None = option(None, help="Evaluated examples of each data set.", low=1)
    threads: int | None = option(None, help="Threads of the runtime.", low=1)
    keep_checkpoints: bool = option(False, help="Keep every student that is trained.")
