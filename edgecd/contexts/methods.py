"""The table of methods: what each is asked, what trains it, and what comes of its run.

Configurations and trainers are named as "module:name" and imported when they are used, so that
whatever reads the table stays as light as it was. To add a method: its configuration and trainer
in a module of their own, and a row here; a method whose run makes contexts also joins the names
that the format of a context (or of a compressor) allows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError, suggest
from edgecd.plotting.roles import MEND, PBFT, PROMPT_TUNING, STUDENT

if TYPE_CHECKING:
    from edgecd.console import Reporter

# What an export writes of a run: a classifier's bundle, or the graph that makes contexts.
CLASSIFIER, COMPRESSOR = "classifier", "compressor"

Trainer = Callable[[Any, Path, "Reporter", bool, bool], dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """One way to train.

    `config` names a dataclass of options, whose field `method` has this name among its choices, and
    `trainer` a function of (config, run folder, reporter, resume, force) that returns the run.json.
    `role` is that of its rows in reports; `graphs` are the kinds that an export writes of its run,
    none where the run holds a context already. `next_step` is the command that goes on from a run
    folder `{out}`. A method with `needs_teacher` learns from a teacher's scores.
    """

    name: str
    config: str
    trainer: str
    role: str
    graphs: tuple[str, ...]
    next_step: str
    needs_teacher: bool = False

    @property
    def config_class(self) -> type[Any]:
        """The dataclass of its options; imports its module."""
        found: type[Any] = _named(self.config)
        return found

    def train(
        self, config: Any, out: Path, reporter: Reporter, resume: bool = False, force: bool = False
    ) -> dict[str, Any]:
        """Train into the run folder `out`; returns its run.json. Errors are the trainer's own."""
        trainer: Trainer = _named(self.trainer)
        return trainer(config, out, reporter, resume, force)


_OF_STUDENT = ("edgecd.training.config:TrainConfig", "edgecd.training.distil:train")
_OF_DISTILLER = ("edgecd.contexts.config:MendConfig", "edgecd.contexts.train:train_distiller")
_OF_PROMPT = (
    "edgecd.contexts.config:PromptTuningConfig",
    "edgecd.contexts.prompt_tuning:train_prompt",
)
_EXPORT = "edgecd export {out} --int8"
_COMPRESS = "edgecd compress --distiller {out} --task T --out CONTEXT"
_PREDICT = "edgecd predict BUNDLE --context {out}/context.safetensors"

METHODS = {
    method.name: method
    for method in (
        Method("cd", *_OF_STUDENT, STUDENT, (CLASSIFIER,), _EXPORT, needs_teacher=True),
        Method("pbft", *_OF_STUDENT, PBFT, (CLASSIFIER,), _EXPORT),
        Method("mend", *_OF_DISTILLER, MEND, (COMPRESSOR,), _COMPRESS),
        Method("hypertuning", *_OF_DISTILLER, MEND, (COMPRESSOR,), _COMPRESS),
        Method("gist", *_OF_DISTILLER, MEND, (COMPRESSOR,), _COMPRESS),
        Method("prompt-tuning", *_OF_PROMPT, PROMPT_TUNING, (), _PREDICT),
    )
}


def find_method(name: str) -> Method:
    """The method of that name; InputError, with the nearest one, when there is none."""
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise InputError(f"--method {name}: choose one of {known}{suggest(name, METHODS)}")
    return METHODS[name]


def config_classes() -> tuple[type[Any], ...]:
    """The configurations of all methods, each once, in the order of the table."""
    return tuple(dict.fromkeys(method.config_class for method in METHODS.values()))


def methods_of(config: type[Any]) -> tuple[str, ...]:
    """The names of the methods that this configuration asks for."""
    path = f"{config.__module__}:{config.__qualname__}"
    return tuple(method.name for method in METHODS.values() if method.config == path)


def role_of_method(method: str | None, otherwise: str) -> str:
    """The role of what a method made; `otherwise` for a method that is none of the table's."""
    found = METHODS.get(method or "")
    return otherwise if found is None else found.role


def writes(method: str | None, graphs: Iterable[str]) -> bool:
    """Whether an export writes one of these kinds of graphs of the method's runs."""
    found = METHODS.get(method or "")
    return found is not None and not set(graphs).isdisjoint(found.graphs)


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
