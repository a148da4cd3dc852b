"""edgecd turns a prompt into a small on-device model.

The names in `__all__` are its Python interface: they, their parameters and what they return stay as
they are within a minor version, and what goes is announced one minor version before. Options may be
added to the configurations, and keys to the results. Every other name in the package is internal.

    task = edgecd.load_task("task.toml")
    config = edgecd.TrainConfig(task="task.toml", teacher="models/big", student="models/small")
    edgecd.train_student(config, "runs/small")
    edgecd.export_bundle("runs/small", edgecd.ExportConfig(precision="int8"), "bundles/small")
    edgecd.bench_bundles(
        ["bundles/small"], edgecd.BenchConfig(task="task.toml", run="runs/small"), "reports/small"
    )
    edgecd.Predictor.load("bundles/small").predict("Where is my parcel?")

Nothing heavy is imported before it is used. What is wrong with what is given raises InputError, a
gate or a hash that says no CheckFailed, and a package that is not installed MissingExtra, each with
the cure; all are EdgecdError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecd.bench.config import BenchConfig as BenchConfig
    from edgecd.console import Reporter
    from edgecd.errors import CheckFailed as CheckFailed
    from edgecd.errors import EdgecdError as EdgecdError
    from edgecd.errors import InputError as InputError
    from edgecd.errors import MissingExtra as MissingExtra
    from edgecd.export.config import ExportConfig as ExportConfig
    from edgecd.runtime.predictor import Prediction as Prediction
    from edgecd.runtime.predictor import Predictor as Predictor
    from edgecd.tasks.task import Task as Task
    from edgecd.tasks.task import load_task as load_task
    from edgecd.training.config import TrainConfig as TrainConfig

__version__ = "0.1.0"
__all__ = [
    "BenchConfig",
    "CheckFailed",
    "EdgecdError",
    "ExportConfig",
    "InputError",
    "MissingExtra",
    "Prediction",
    "Predictor",
    "Task",
    "TrainConfig",
    "__version__",
    "bench_bundles",
    "export_bundle",
    "load_task",
    "train_student",
]
# Imported when they are asked for, so that `import edgecd` costs next to nothing.
_LAZY = {
    **dict.fromkeys(("Prediction", "Predictor"), "edgecd.runtime.predictor"),
    **dict.fromkeys(("Task", "load_task"), "edgecd.tasks.task"),
    **dict.fromkeys(("CheckFailed", "EdgecdError", "InputError", "MissingExtra"), "edgecd.errors"),
    "BenchConfig": "edgecd.bench.config",
    "ExportConfig": "edgecd.export.config",
    "TrainConfig": "edgecd.training.config",
}

Place = str | PathLike[str]
Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def train_student(
    config: TrainConfig,
    out: Place,
    *,
    resume: bool = False,
    force: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a student into the run folder `out`, as `edgecd train`; returns its run.json.

    `resume` goes on with a run that was stopped, `force` replaces one. `say` takes lines for
    people, `progress` (what, done, total), both as the work goes on. Raises InputError for anything
    wrong with task, data, models or options, MissingExtra without `edgecd[train]`.
    """
    _require("train", "torch", "transformers", "peft")
    from edgecd.training.distil import train

    return train(config, Path(out), _reporter(say, progress), resume, force)


def export_bundle(
    run: Place,
    config: ExportConfig,
    out: Place,
    *,
    force: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export a student's run folder as a bundle at `out`, as `edgecd export`; returns its --json.

    `force` replaces a bundle. Raises CheckFailed where no treatment of the weights keeps enough of
    the labels, InputError for a run that is not finished, MissingExtra without `edgecd[export]`.
    """
    _require("train", "torch", "transformers")
    from edgecd.export.convert import export_run

    return export_run(Path(run), Path(out), config, force, _reporter(say, progress))


def bench_bundles(
    bundles: Iterable[Place],
    config: BenchConfig,
    out: Place,
    *,
    force: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure bundles and the prompts that they replace, as `edgecd bench`; returns report.json.

    The report is written into the folder `out`; what was measured before is kept there, unless
    `force`. Raises InputError for what cannot be compared or measured.
    """
    from edgecd.bench.report.record import write_report
    from edgecd.bench.run import bench

    folders = [Path(one) for one in bundles]
    return write_report(bench(folders, config, Path(out), force, _reporter(say, progress)))


def _require(extra: str, *modules: str) -> None:
    from edgecd.errors import require

    for module in modules:
        require(module, extra)


def _reporter(say: Say | None, progress: Progress | None) -> Reporter:
    from edgecd.console import SILENT, Reporter

    return Reporter(say or SILENT.say, progress or SILENT.progress)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'edgecd' has no attribute {name!r}")
