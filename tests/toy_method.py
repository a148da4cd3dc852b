"""A method as one is added: its options and its trainer, in a module of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.config import check_options, like, option
from edgecd.console import Reporter
from edgecd.contexts.methods import CLASSIFIER, Method
from edgecd.files import write_json
from edgecd.formats.run import RUN
from edgecd.plotting.roles import STUDENT
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task
from edgecd.training.config import TrainConfig
from edgecd.training.folder import open_run


@dataclass(frozen=True)
class ToyConfig:
    """Every choice of a method that learns one thing: the label that is told most."""

    task: str = like(TrainConfig, "task")
    method: str = like(TrainConfig, "method", "toy", choices=("toy",))
    patience_of_saints: int = option(3, help="How often it looks.", low=1, high=9)

    def __post_init__(self) -> None:
        check_options(self)


def train_toy(
    config: ToyConfig, out: Path, reporter: Reporter, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Count labels into the run folder `out`; returns its run.json."""
    task = load_task(config.task)
    with open_run(out, config, reporter, resume, force, task.files) as done:
        if done is not None:
            return done
        labels = [example.label for example in read_split(task, "train").examples]
        run = {
            "status": "done",
            "method": config.method,
            "looked": config.patience_of_saints,
            "says": max(task.labels, key=labels.count),
            "peak_rss_bytes": 0,
            "timings_s": {"total": 0.0},
        }
        write_json(out / RUN, run)
        return run


TOY = Method(
    "toy",
    "tests.toy_method:ToyConfig",
    "tests.toy_method:train_toy",
    STUDENT,
    (CLASSIFIER,),
    "edgecd toy {out}",
)
