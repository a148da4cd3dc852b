"""What is compared: each bundle, and the prompts that it would replace."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecd.bundle import MANIFEST, read_manifest
from edgecd.errors import InputError
from edgecd.files import read_json, sha256_file
from edgecd.tasks import suggest

TEACHER, TEACHER_CACHED = "teacher-icl", "teacher-icl-cached"
SAME_SIZE, SAME_SIZE_CACHED = "same-size-icl", "same-size-icl-cached"
ZERO_SHOT = "same-size-zero-shot"
BASELINES = (TEACHER, TEACHER_CACHED, SAME_SIZE, SAME_SIZE_CACHED, ZERO_SHOT)
# A naive row reads the whole prompt for each query. Its answers are the cached row's, so its
# accuracy is taken from there, and only its latency is measured.
ACCURACY_FROM = {TEACHER: TEACHER_CACHED, SAME_SIZE: SAME_SIZE_CACHED}
_ROLES = {"pbft": "pbft", "mend": "mend"}


@dataclass(frozen=True)
class System:
    """One row. `model` is a bundle folder, or a language model's name; `identity` changes with
    its weights; `prompted` says that demonstrations stand in its input."""

    name: str
    kind: Literal["bundle", "icl"]
    role: str
    model: str
    identity: Any
    prompted: bool = False
    cached: bool = False

    @property
    def accuracy_from(self) -> str | None:
        """The system whose answers are this one's too, when it has none of its own."""
        return ACCURACY_FROM.get(self.role)


@dataclass(frozen=True)
class Models:
    """The language models behind the baselines; None when nobody knows them."""

    teacher: str | None
    student_base: str | None


def known_models(
    bundles: Sequence[Path], run: Path | None, teacher: str | None, student_base: str | None
) -> Models:
    """Models as given, else from the run folder, else from the first bundle's provenance."""
    made: Mapping[str, Any] = read_manifest(bundles[0]).provenance
    if run is not None:
        made = read_json(run / "run.json")
    return Models(teacher or made.get("teacher"), student_base or made.get("student"))


def list_systems(
    bundles: Sequence[Path], models: Models, baselines: Sequence[str] | None
) -> tuple[System, ...]:
    """Every row in the report's order: baselines, then bundles.

    `baselines` None stands for all whose model is known, or none where PyTorch is not
    installed. A naive row brings its cached row. Raises InputError for an unknown baseline, one
    without a model, or two systems of one name.
    """
    wanted = _wanted(models, baselines)
    systems = [_icl(role, models) for role in BASELINES if role in wanted]
    systems += [_bundle(folder) for folder in bundles]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two systems are named {name!r}: give each bundle's folder its name")
    return tuple(systems)


def _wanted(models: Models, baselines: Sequence[str] | None) -> set[str]:
    if baselines is None:
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
            return set()
        return {role for role in BASELINES if _model_of(role, models) is not None}
    for role in baselines:
        if role not in BASELINES:
            raise InputError(
                f"unknown baseline {role!r}: choose from {', '.join(BASELINES)}"
                + suggest(role, BASELINES)
            )
        if _model_of(role, models) is None:
            flag = "--teacher" if role in (TEACHER, TEACHER_CACHED) else "--student"
            raise InputError(f"baseline {role!r} needs a model, which no bundle names: give {flag}")
    return {*baselines, *(ACCURACY_FROM[role] for role in baselines if role in ACCURACY_FROM)}


def _model_of(role: str, models: Models) -> str | None:
    return models.teacher if role in (TEACHER, TEACHER_CACHED) else models.student_base


def _icl(role: str, models: Models) -> System:
    model = _model_of(role, models)
    assert model is not None  # _wanted saw to it
    return System(
        name=role,
        kind="icl",
        role=role,
        model=model,
        identity=_files_of(model),
        prompted=role != ZERO_SHOT,
        cached=role in ACCURACY_FROM.values(),
    )


def _bundle(folder: Path) -> System:
    method = str(read_manifest(folder).provenance.get("method"))
    return System(
        name=folder.resolve().name,
        kind="bundle",
        role=_ROLES.get(method, "student"),
        model=str(folder.resolve()),
        identity=sha256_file(folder / MANIFEST),  # it holds the hashes of all the rest
    )


def _files_of(model: str) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of a local model's files; None for one of the hub."""
    path = Path(model).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats] or None
