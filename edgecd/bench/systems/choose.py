"""What is compared: each bundle, the prompts that it would replace, and other runtimes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecd.errors import InputError, suggest
from edgecd.files import read_json, sha256_file
from edgecd.formats.bundle import MANIFEST, read_manifest
from edgecd.formats.context import read_context

TEACHER, TEACHER_CACHED = "teacher-icl", "teacher-icl-cached"
SAME_SIZE, SAME_SIZE_CACHED = "same-size-icl", "same-size-icl-cached"
ZERO_SHOT = "same-size-zero-shot"
BASELINES = (TEACHER, TEACHER_CACHED, SAME_SIZE, SAME_SIZE_CACHED, ZERO_SHOT)
# A naive row reads the whole prompt for each query. Its answers are the cached row's, so its
# accuracy is taken from there, and only its latency is measured.
ACCURACY_FROM = {TEACHER: TEACHER_CACHED, SAME_SIZE: SAME_SIZE_CACHED}
TORCH, ONNX = "torch", "onnxruntime"
RUNTIMES = (ONNX, TORCH)
_ROLES = {"pbft": "pbft", "language-model": "context"}
_CONTEXT_ROLES = {
    "mend": "mend",
    "hypertuning": "mend",
    "gist": "mend",
    "prompt-tuning": "prompt-tuning",
}
_NEEDED = {TORCH: ("torch", "transformers"), ONNX: ("torch", "transformers", "onnx_ir")}


@dataclass(frozen=True)
class System:
    """One row.

    `model` is a bundle folder, a language model's name, or the checkpoint that a peer converts;
    `identity` changes with its weights. A prompt (`icl`) has `shots` demonstrations in its input,
    read once where it is `cached`; on onnxruntime it has the `precision` that is asked for. A
    language model's bundle takes a `context` file, or the one inside.
    """

    name: str
    kind: Literal["bundle", "icl", "peer"]
    role: str
    model: str
    identity: Any
    runtime: str = ONNX
    precision: str | None = None
    shots: int = 0
    cached: bool = False
    bundle: str | None = None  # a peer's: the template and the labels are its
    context: str | None = None

    @property
    def accuracy_from(self) -> str | None:
        """The system whose answers are this one's too, when it has none of its own."""
        if self.role not in ACCURACY_FROM:
            return None
        return self.name.replace(self.role, ACCURACY_FROM[self.role], 1)

    @property
    def converted(self) -> bool:
        """Whether files must be made for it before it can be measured."""
        return self.kind == "peer" or (self.kind == "icl" and self.runtime == ONNX)


@dataclass(frozen=True)
class Models:
    """The language models behind the baselines; None when nobody knows them."""

    teacher: str | None
    student_base: str | None


@dataclass(frozen=True)
class Prompts:
    """Which prompts to measure: their roles, numbers of demonstrations, and what runs them.

    `few_shots` are smaller numbers of demonstrations, for the teacher alone. `precision` is that
    of onnxruntime's rows.
    """

    roles: tuple[str, ...]
    shots: int
    few_shots: tuple[int, ...]
    runtimes: tuple[str, ...]
    precision: str


def known_models(
    bundles: Sequence[Path], run: Path | None, teacher: str | None, student_base: str | None
) -> Models:
    """Models as given, else from the run folder, else from the first bundle's provenance."""
    made: Mapping[str, Any] = read_manifest(bundles[0]).provenance
    if run is not None:
        made = read_json(run / "run.json")
    return Models(
        teacher or made.get("teacher"), student_base or made.get("student") or made.get("model")
    )


def choose_roles(models: Models, baselines: Sequence[str] | None) -> tuple[str, ...]:
    """The roles of the prompts to measure.

    None stands for all whose model is known, or none where PyTorch is not installed. A naive
    row brings its cached row. Raises InputError for an unknown baseline or one without a model.
    """
    if baselines is None:
        if not _installed(TORCH):
            return ()
        return tuple(role for role in BASELINES if _model_of(role, models) is not None)
    for role in baselines:
        if role not in BASELINES:
            raise InputError(
                f"unknown baseline {role!r}: choose from {', '.join(BASELINES)}"
                + suggest(role, BASELINES)
            )
        if _model_of(role, models) is None:
            flag = "--teacher" if role in (TEACHER, TEACHER_CACHED) else "--student"
            raise InputError(f"baseline {role!r} needs a model, which no bundle names: give {flag}")
    wanted = {*baselines, *(ACCURACY_FROM[role] for role in baselines if role in ACCURACY_FROM)}
    return tuple(role for role in BASELINES if role in wanted)


def choose_runtimes(names: Sequence[str] | None) -> tuple[str, ...]:
    """The runtimes of the prompts; None stands for those that are installed."""
    if names is None:
        return tuple(name for name in RUNTIMES if _installed(name))
    for name in names:
        if name not in RUNTIMES:
            raise InputError(
                f"--prompt-runtimes {name}: choose from {', '.join(RUNTIMES)}"
                + suggest(name, RUNTIMES)
            )
    return tuple(name for name in RUNTIMES if name in names)


def list_systems(
    bundles: Sequence[Path],
    models: Models,
    prompts: Prompts,
    peers: Sequence[str] = (),
    checkpoint: Path | None = None,
    contexts: Sequence[Path] = (),
) -> tuple[System, ...]:
    """Every row in the report's order: prompts, peers, bundles, then contexts.

    Peers run `checkpoint`, which the first bundle was made from; contexts are given to every
    bundle of a language model. Raises InputError for two systems of one name, peers without a
    checkpoint, or contexts without such a bundle.
    """
    if peers and checkpoint is None:
        raise InputError("--peers convert the run's checkpoint: say which run with --run")
    systems = list(_prompts(models, prompts))
    systems += [_peer(name, Path(str(checkpoint)), bundles[0]) for name in peers]
    systems += [_bundle(folder) for folder in bundles]
    takers = [folder for folder in bundles if read_manifest(folder).language_model is not None]
    if contexts and not takers:
        raise InputError(
            "contexts need the bundle of a language model: edgecd export MODEL --task T --out B"
        )
    systems += [_with_context(folder, file, len(takers)) for folder in takers for file in contexts]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two systems are named {name!r}: give each bundle's folder its name")
    return tuple(systems)


def _prompts(models: Models, prompts: Prompts) -> Iterator[System]:
    for runtime in prompts.runtimes:
        for role in prompts.roles:
            yield _icl(role, models, prompts, runtime, 0 if role == ZERO_SHOT else prompts.shots)
    # Fewer shots are the cheap rival: on one runtime they say enough.
    for shots in prompts.few_shots:
        for role in (TEACHER, TEACHER_CACHED):
            if role in prompts.roles:
                yield _icl(role, models, prompts, prompts.runtimes[0], shots)


def _icl(role: str, models: Models, prompts: Prompts, runtime: str, shots: int) -> System:
    model = _model_of(role, models)
    assert model is not None  # choose_roles saw to it
    precision = prompts.precision if runtime == ONNX else None
    name = role + (f"-onnx-{precision}" if precision else "")
    if shots not in (0, prompts.shots):
        name += f"-{shots}-shots"
    return System(
        name=name,
        kind="icl",
        role=role,
        model=model,
        identity=_files_of(model),
        runtime=runtime,
        precision=precision,
        shots=shots,
        cached=role in ACCURACY_FROM.values(),
    )


def _peer(name: str, checkpoint: Path, bundle: Path) -> System:
    return System(
        name=name,
        kind="peer",
        role="peer",
        model=str(checkpoint.resolve()),
        identity=_files_of(str(checkpoint)),
        runtime=name,
        bundle=str(bundle.resolve()),
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


def _with_context(folder: Path, file: Path, takers: int) -> System:
    method = read_context(file).facts.method
    return System(
        name=file.stem if takers == 1 else f"{folder.resolve().name}-{file.stem}",
        kind="bundle",
        role=_CONTEXT_ROLES.get(method, "context"),
        model=str(folder.resolve()),
        identity=[sha256_file(folder / MANIFEST), sha256_file(file)],
        context=str(file.resolve()),
    )


def _model_of(role: str, models: Models) -> str | None:
    return models.teacher if role in (TEACHER, TEACHER_CACHED) else models.student_base


def _installed(runtime: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED[runtime])


def _files_of(model: str) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of a local model's files; None for one of the hub."""
    path = Path(model).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats] or None
