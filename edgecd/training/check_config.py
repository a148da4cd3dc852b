"""What a check of a task is asked: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.config import MACHINE, check_options, like, option
from edgecd.training.config import TrainConfig


@dataclass(frozen=True)
class CheckConfig:
    """Every choice of `edgecd check`; InputError for a value out of its range.

    Without a `teacher` or a `student` nothing is said of it; `shots` None is the usual number.
    """

    teacher: str | None = like(TrainConfig, "teacher", None)
    student: str | None = like(TrainConfig, "student", None)
    shots: int | None = like(TrainConfig, "shots", None)
    max_length: int = like(TrainConfig, "max_length")
    estimate: bool = option(
        True, group=MACHINE, help="Time two layers of each model, which tells how long all takes."
    )

    def __post_init__(self) -> None:
        check_options(self)
