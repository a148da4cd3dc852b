"""What a sweep is asked to do, beside its suite and its folder."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.config import MACHINE, MODELS, check_options, option


@dataclass(frozen=True)
class SweepConfig:
    """Every option of `edgecd sweep`: what replaces the suite's own, and how its cells are run.

    None and () leave the suite's. `limit` is of each data set; `threads` None takes every core.
    Raises InputError for a value out of its range.
    """

    task: str | None = option(None, group=MODELS, path=True, help="Instead of the suite's task.")
    ood: tuple[str, ...] = option((), group=MODELS, path=True, help="Instead of the suite's.")
    teacher: str | None = option(
        None, group=MODELS, path=True, help="Instead of the suite's teacher."
    )
    student: str | None = option(
        None, group=MODELS, path=True, help="Instead of the suite's student."
    )
    limit: int | None = option(
        None, group=MODELS, low=1, help="Evaluated examples of each data set."
    )
    threads: int | None = option(None, group=MACHINE, low=1, help="Threads of the runtime.")
    keep_checkpoints: bool = option(
        False,
        group=MACHINE,
        flags=("--keep-checkpoints",),
        help="Keep every student that is trained.",
    )

    def __post_init__(self) -> None:
        check_options(self)
