"""What beginning with a file of data is asked: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecd.config import MODELS, check_options, like, option
from edgecd.training.config import TrainConfig


@dataclass(frozen=True)
class StartConfig:
    """Every choice of `edgecd init`; InputError for a value out of its range.

    Columns that are not named are looked for; without a file to `test` on, a part of the rows is.
    """

    text_columns: tuple[str, ...] = option((), help="Columns that are read, in their order.")
    label_column: str | None = option(None, help="The column of the labels.")
    test: Path | None = option(None, help="A file of rows to test on (else a part is split off).")
    test_share: float = option(0.2, low=0.01, high=0.9, help="How much of the rows is split off.")
    seed: int = like(TrainConfig, "seed", help="Of the part that is split off.", group="Options")
    name: str | None = option(None, help="The task's name (the file's).")
    teacher: str = like(TrainConfig, "teacher", group=MODELS)
    student: str = like(TrainConfig, "student", group=MODELS)

    def __post_init__(self) -> None:
        check_options(self)
