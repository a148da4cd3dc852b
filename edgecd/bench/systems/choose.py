"""What is compared: each bundle, the prompts that it would replace, and other runtimes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecd.bench.rivals import registry
from edgecd.bench.systems.base import ONNX, TORCH, System
from edgecd.bench.systems.given import Bundle, GivenContext, Models
from edgecd.contexts.methods import role_of_method
from edgecd.errors import InputError, suggest
from edgecd.files import sha256_file
from edgecd.formats.manifest import MANIFEST
from edgecd.plotting.roles import (
    BASELINES,
    CONTEXT,
    PEER,
    RIVAL,
    STUDENT,
    TEACHER,
    TEACHER_CACHED,
    ZERO_SHOT,
    role_of,
)

RUNTIMES = (ONNX, TORCH)
_NEEDED = {TORCH: ("torch", "transformers"), ONNX: ("torch", "transformers", "onnx_ir")}


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


@dataclass(frozen=True)
class Others:
    """What is measured beside bundles and prompts, by name.

    `peers` run `checkpoint`, and read texts as `bundle` does, which was made from it. `rivals`
    learn from the demonstrations; some start from the model `encoder`.
    """

    peers: tuple[str, ...] = ()
    checkpoint: Path | None = None
    bundle: Path | None = None
    rivals: tuple[str, ...] = ()
    encoder: str | None = None


NO_OTHERS = Others()


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
            flag = f"--{role_of(role).model}"
            if role_of(role).model == "student" and models.encoder is not None:
                raise InputError(
                    f"baseline {role!r}: the student {models.encoder} is an encoder, which cannot "
                    f"be prompted: name a decoder with {flag}"
                )
            told = f" (a bundle names {', '.join(models.unfetched)})" if models.unfetched else ""
            raise InputError(
                f"baseline {role!r} needs a model: name it with {flag}{told}, or give --run"
            )
    wanted = {*baselines, *(role_of(role).accuracy_from for role in baselines)}
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
    bundles: Sequence[Bundle],
    models: Models,
    prompts: Prompts,
    others: Others = NO_OTHERS,
    contexts: Sequence[GivenContext] = (),
) -> tuple[System, ...]:
    """Every row in the report's order: prompts, rivals, peers, bundles, then contexts.

    Contexts are given to every bundle of a language model. Raises InputError for two systems of
    one name, peers without a checkpoint, or contexts without such a bundle.
    """
    checkpoint = others.checkpoint
    if others.peers and checkpoint is None:
        raise InputError("--peers convert the run's checkpoint: say which run with --run")
    systems = list(_prompts(models, prompts))
    systems += [_rival(name, others.encoder) for name in others.rivals]
    read_by = others.bundle or bundles[0].folder
    systems += [_peer(name, Path(str(checkpoint)), read_by) for name in others.peers]
    systems += [_bundle(one) for one in bundles]
    takers = [one for one in bundles if one.manifest.language_model is not None]
    if contexts and not takers:
        raise InputError(
            "contexts need the bundle of a language model: edgecd export MODEL --task T --out B"
        )
    systems += [_with_context(one, given, len(takers)) for one in takers for given in contexts]
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
        cached=role_of(role).cached,
    )


def _peer(name: str, checkpoint: Path, bundle: Path) -> System:
    return System(
        name=name,
        kind="peer",
        role=PEER,
        model=str(checkpoint.resolve()),
        identity=_files_of(str(checkpoint)),
        runtime=name,
        bundle=str(bundle.resolve()),
    )


def _rival(name: str, encoder: str | None) -> System:
    rival = registry.find(name)
    model = (encoder or "") if rival.sentence_encoder else ""
    return System(
        name=rival.system,
        kind="rival",
        role=RIVAL,
        model=model,
        identity=_files_of(model) if model else None,
        runtime=rival.runtime,
        rival=name,
    )


def _bundle(bundle: Bundle) -> System:
    manifest = bundle.manifest
    by_itself = CONTEXT if manifest.language_model is not None else STUDENT
    return System(
        name=bundle.name,
        kind="bundle",
        role=role_of_method(str(manifest.provenance.get("method")), by_itself),
        model=str(bundle.folder.resolve()),
        identity=sha256_file(bundle.folder / MANIFEST),  # it holds the hashes of all the rest
    )


def _with_context(bundle: Bundle, given: GivenContext, takers: int) -> System:
    return System(
        name=given.file.stem if takers == 1 else f"{bundle.name}-{given.file.stem}",
        kind="bundle",
        role=role_of_method(given.metadata.method, CONTEXT),
        model=str(bundle.folder.resolve()),
        identity=[sha256_file(bundle.folder / MANIFEST), sha256_file(given.file)],
        context=str(given.file.resolve()),
    )


def _model_of(role: str, models: Models) -> str | None:
    return models.teacher if role_of(role).model == "teacher" else models.student_base


def _installed(runtime: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED[runtime])


def _files_of(model: str) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of a local model's files; None for one of the hub."""
    path = Path(model).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats] or None
