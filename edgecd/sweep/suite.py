"""What a sweep is asked to do: a suite file, and the cells that it comes to."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgecd.config import load_config
from edgecd.contexts.methods import METHODS, methods_of
from edgecd.errors import InputError, check_keys
from edgecd.files import fingerprint, read_toml
from edgecd.sweep.config import SweepConfig
from edgecd.training.config import ADAPTERS, HEADS, TrainConfig

PROMPTED, TRAINED = ("zero-shot", "icl"), methods_of(TrainConfig)
MODELS = ("teacher", "student")
_SAID_ELSEWHERE = {"task", "teacher", "student", "method", "adapter", "head", "shots", "seed"}
_TRAIN_KEYS = {f.name for f in dataclasses.fields(TrainConfig)} - _SAID_ELSEWHERE - {"scores"}
# What a teacher's scores depend on, besides task, teacher, shots and seed.
_SCORING_KEYS = (
    "pattern",
    "context_shots",
    "context_draws",
    "draws_per_text",
    "calibrate",
    "transfer",
    "heldout",
    "max_length",
    "device",
    "dtype",
)
_COST = ("zero-shot", "icl-student", "icl-teacher", "scores")


@dataclass(frozen=True)
class Runs:
    """One [[runs]] table: a method, and the models or adapters and the shots to run it with.

    `shots` are numbers of demonstrations, None for the suite's own; `train` holds options of the
    training by name, which win over the suite's.
    """

    method: str
    model: str | None = None
    adapters: tuple[str, ...] = ()
    head: str = "labels"
    shots: tuple[int, ...] | None = None
    train: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A suite file, checked: every run with each number of `shots` and each seed.

    `limit` is how many examples of each set are evaluated; `train` holds options of every training
    by name.
    """

    name: str
    task: str
    teacher: str
    student: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: tuple[Runs, ...]
    ood: tuple[str, ...] = ()
    limit: int | None = None
    split: str | None = None
    train: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Cell:
    """One process of a sweep.

    `kind` is `scores` (the teacher's, for the `cd` cells that name it in `scores`), `zero-shot`,
    `icl` (both of `model`: teacher or student), `pbft` or `cd`. It is evaluated on at most `limit`
    examples of the task's `split` and of the tasks in `ood`.
    """

    name: str
    kind: str
    config: TrainConfig
    ood: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None
    model: str | None = None
    scores: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes with anything that the cell's result depends on."""
        return fingerprint(dataclasses.asdict(self))


def load_suite(path: Path, config: SweepConfig) -> Suite:
    """Read a suite file; what `config` sets of task, ood, teacher, student and limit wins over it.

    Tasks and models are taken from the file's folder where they exist there. Raises InputError
    for a missing file, bad TOML, an unknown key, a wrong type, or something that is not said.
    """
    table = read_toml(path)
    where = str(path)
    check_keys(table, {field.name for field in dataclasses.fields(Suite)}, where)
    table = {"name": path.stem, **table}
    for key in ("task", "teacher", "student"):
        if isinstance(table.get(key), str):
            table[key] = _beside(path, table[key])
    if _texts(table.get("ood", []), f"{where}: ood"):
        table["ood"] = [_beside(path, name) for name in table["ood"]]
    given = {key: getattr(config, key) for key in ("task", "teacher", "student", "limit")}
    given["ood"] = list(config.ood) or None
    table |= {key: value for key, value in given.items() if value is not None}
    for key in ("task", "teacher", "student"):
        if key not in table:
            raise InputError(f"{where}: it names no {key}: add one, or give --{key}")
    runs = table.get("runs", [])
    if not isinstance(runs, list) or not runs:
        raise InputError(f"{where}: it has no [[runs]], so there is nothing to do")
    suite = Suite(
        **{
            key: _text(table[key], f"{where}: {key}")
            for key in ("name", "task", "teacher", "student", "description")
            if key in table
        },
        shots=_numbers(table.get("shots"), f"{where}: shots"),
        seeds=_numbers(table.get("seeds"), f"{where}: seeds"),
        runs=tuple(_runs(one, f"{where}: [[runs]] {n}") for n, one in enumerate(runs, start=1)),
        ood=tuple(_texts(table.get("ood", []), f"{where}: ood")),
        limit=None if table.get("limit") is None else _number(table["limit"], f"{where}: limit"),
        split=None if table.get("split") is None else _text(table["split"], f"{where}: split"),
        train=_train(table.get("train", {}), f"{where}: [train]"),
    )
    for number, one in enumerate(suite.runs, start=1):
        if extra := set(one.shots or ()) - set(suite.shots):
            raise InputError(
                f"{where}: [[runs]] {number}: shots {', '.join(map(str, sorted(extra)))} are not "
                f"among the suite's ({', '.join(map(str, suite.shots))})"
            )
    return suite


def expand(suite: Suite) -> tuple[Cell, ...]:
    """Every cell of a suite, the first seed's first, and within a seed the cheap ones first.

    Zero-shot needs no demonstrations, so it is one cell, with the first seed's calibration
    inputs. Raises InputError when two cells would have one name, or an option is out of range.
    """
    cells: list[Cell] = []
    scored: dict[TrainConfig, str] = {}
    for seed in suite.seeds:
        of_seed: list[Cell] = []
        for runs in suite.runs:
            of_seed += _cells(suite, runs, seed, scored)
        for config, name in scored.items():
            if config.seed == seed:
                of_seed.append(Cell(name, "scores", config))
        cells += sorted(of_seed, key=lambda cell: (_cost(cell), cell.config.shots))
    names = [cell.name for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"suite {suite.name}: two [[runs]] make the cell {name!r}: change the adapters, "
                "head or shots of one, or put it into a suite of its own"
            )
    return tuple(cells)


def _cells(suite: Suite, runs: Runs, seed: int, scored: dict[TrainConfig, str]) -> list[Cell]:
    cell = partial(Cell, ood=suite.ood, split=suite.split, limit=suite.limit)
    if runs.method == "zero-shot":
        if seed != suite.seeds[0]:
            return []
        name = f"zero-shot-{runs.model}-seed-{seed}"
        return [cell(name, "zero-shot", _config(suite, runs, seed, 0), model=runs.model)]
    cells = []
    for shots in suite.shots if runs.shots is None else runs.shots:
        end = f"{shots}-shots-seed-{seed}"
        if runs.method == "icl":
            config = _config(suite, runs, seed, shots)
            cells.append(cell(f"icl-{runs.model}-{end}", "icl", config, model=runs.model))
        for adapter in runs.adapters:
            config = _config(suite, runs, seed, shots, adapter=adapter)
            head = "-vocabulary" if runs.head == "vocabulary" else ""
            name = f"{runs.method}-{adapter}{head}-{end}"
            scores = _scores(config, scored) if METHODS[runs.method].needs_teacher else None
            cells.append(cell(name, runs.method, config, scores=scores))
    return cells


def _config(
    suite: Suite, runs: Runs, seed: int, shots: int, adapter: str | None = None
) -> TrainConfig:
    flags = {
        **suite.train,
        **runs.train,
        "task": suite.task,
        "teacher": suite.teacher,
        "student": suite.student,
        "method": runs.method if runs.method in TRAINED else TrainConfig.method,
        "adapter": adapter,
        "head": runs.head,
        "shots": shots,
        "seed": seed,
    }
    try:
        return load_config(None, flags, TrainConfig)
    except InputError as bad:
        raise InputError(f"suite {suite.name}, {runs.method}: {bad}") from None


def _scores(config: TrainConfig, scored: dict[TrainConfig, str]) -> str:
    """The name of the cell that scores for this one, which is made up when it is the first."""
    keys = ("task", "teacher", "student", "shots", "seed", *_SCORING_KEYS)
    needed = TrainConfig(**{key: getattr(config, key) for key in keys})
    if needed not in scored:
        name = f"scores-{config.shots}-shots-seed-{config.seed}"
        others = sum(other.startswith(f"{name}") for other in scored.values())
        scored[needed] = f"{name}-{others + 1}" if others else name
    return scored[needed]


def _cost(cell: Cell) -> int:
    kind = f"icl-{cell.model}" if cell.kind == "icl" else cell.kind
    return _COST.index(kind) if kind in _COST else len(_COST) + METHODS[kind].needs_teacher


def _runs(table: Any, where: str) -> Runs:
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table")
    check_keys(table, {field.name for field in dataclasses.fields(Runs)}, where)
    method = table.get("method")
    if method not in (*PROMPTED, *TRAINED):
        known = ", ".join((*PROMPTED, *TRAINED))
        raise InputError(f"{where}: method = {method!r}: choose one of {known}")
    train = _train(table.get("train", {}), f"{where}: [runs.train]")
    shots = None
    if method in PROMPTED:
        if table.get("model") not in MODELS:
            raise InputError(f"{where}: {method} needs model = 'teacher' or 'student'")
        needless = {"adapters", "head"} | ({"shots"} if method == "zero-shot" else set())
    else:
        adapters = _texts(table.get("adapters", []), f"{where}: adapters")
        if not adapters or set(adapters) - set(ADAPTERS):
            raise InputError(f"{where}: {method} needs adapters = [..] of {', '.join(ADAPTERS)}")
        if table.get("head", "labels") not in HEADS:
            raise InputError(f"{where}: head: choose one of {', '.join(HEADS)}")
        needless = {"model"} | ({"head"} if method == "cd" else set())
    if found := needless & set(table):
        raise InputError(f"{where}: {method} takes no {' and no '.join(sorted(found))}")
    if "shots" in table:
        shots = _numbers(table["shots"], f"{where}: shots")
    return Runs(
        method=str(method),
        model=table.get("model"),
        adapters=tuple(table.get("adapters", ())),
        head=table.get("head", "labels"),
        shots=shots,
        train=train,
    )


def _train(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table")
    if said := _SAID_ELSEWHERE & set(table):
        raise InputError(
            f"{where}: {', '.join(sorted(said))}: said at the top of the suite or in [[runs]]"
        )
    check_keys(table, _TRAIN_KEYS, where)
    return dict(table)


def _beside(path: Path, name: str) -> str:
    beside = path.parent / name
    return str(beside) if beside.exists() else name


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} = {value!r} is not text")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise InputError(f"{where} = {value!r} is not a list of texts")
    return value


def _number(value: Any, where: str, low: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(f"{where} = {value!r} is not a number of {low} or more")
    return value


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: give one number or more, as in [0, 1]")
    numbers = tuple(_number(one, where, low=0) for one in typing.cast(Sequence[Any], value))
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{where} = {value!r}: a number occurs twice")
    return numbers
