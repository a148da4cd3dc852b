"""What a training run is asked to do: one frozen dataclass, TOML in, resolved TOML out."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from edgecd.errors import InputError, check_keys
from edgecd.files import read_toml

METHODS = ("cd", "pbft")
ADAPTERS = ("lora", "bitfit", "full")
HEADS = ("labels", "vocabulary")
_PATHS = (
    "task",
    "teacher",
    "student",
    "scores",
    "distiller",
    "start",
    "partition",
    "data",
    "corpus",
)

Config = TypeVar("Config")


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of `edgecd train`, with its default; None means "by method or adapter"."""

    task: str = "mnli"
    teacher: str = "facebook/opt-1.3b"
    student: str = "facebook/opt-125m"
    method: str = "cd"
    adapter: str = "lora"
    head: str = "labels"
    pattern: str | None = None
    shots: int = 16
    context_draws: int = 1
    calibrate: bool = True
    alpha: float = 0.8
    temperature: float = 1.0
    use_labels: bool = False
    transfer: int = 2400
    heldout: int = 1000
    epochs: float | None = None
    lr: float | None = None
    batch_size: int = 8
    lora_rank: int = 16
    max_length: int = 256
    patience: int = 4
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    scores: str | None = None

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        one_of("adapter", self.adapter, ADAPTERS)
        one_of("head", self.head, HEADS)
        within("alpha", self.alpha, 0, 1)
        within("temperature", self.temperature, 1e-3, 1e3)
        for name in ("shots", "seed"):
            within(name, getattr(self, name), 0, 2**31)
        for name in ("transfer", "heldout", "batch_size", "lora_rank", "context_draws", "patience"):
            within(name, getattr(self, name), 1, 2**31)
        within("max_length", self.max_length, 8, 2**20)
        for name in ("epochs", "lr"):
            if getattr(self, name) is not None:
                within(name, getattr(self, name), 1e-9, 1e6)
        if self.method == "pbft" and self.shots == 0 and not self.use_labels:
            raise InputError("--method pbft learns from labelled examples: --shots 2 or more")
        if self.head == "vocabulary" and self.method != "pbft":
            raise InputError(
                f"--head vocabulary is how PBFT is commonly done, and --method is {self.method}: "
                "leave --head out, or choose --method pbft"
            )

    @property
    def resolved_epochs(self) -> float:
        """Passes over the training examples; the literature's 40 for few-shot PBFT."""
        if self.epochs is not None:
            return self.epochs
        return 40.0 if self.method == "pbft" and not self.use_labels else 1.0

    @property
    def resolved_lr(self) -> float:
        """Peak learning rate, by adapter unless given."""
        if self.lr is not None:
            return self.lr
        return {"lora": 1e-3, "bitfit": 1e-3, "full": 2e-5}[self.adapter]


@overload
def load_config(path: Path | None, flags: Mapping[str, Any]) -> TrainConfig: ...
@overload
def load_config(path: Path | None, flags: Mapping[str, Any], kind: type[Config]) -> Config: ...
def load_config(path: Path | None, flags: Mapping[str, Any], kind: type[Any] = TrainConfig) -> Any:
    """Defaults, overridden by the TOML file, overridden by the flags that are not None.

    `kind` is a dataclass of options. A relative path in the file is taken from the file's folder
    when it exists there. Raises InputError for a missing file, bad TOML, an unknown key, a wrong
    type, or a flag that is none of this kind's options.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    if path is not None:
        values = read_toml(path)
        check_keys(values, known, str(path))
        for key in known.intersection(_PATHS):
            beside = path.parent / str(values.get(key, ""))
            if key in values and beside.exists():
                values[key] = str(beside)
    values |= {key: value for key, value in flags.items() if value is not None}
    for key in values:
        if key not in known:
            method = values.get("method", kind.method)
            raise InputError(f"--{key.replace('_', '-')} has no meaning for --method {method}")
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        values[key] = _typed(key, value, hints[key], str(path) if path else "options")
    return kind(**values)


def to_toml(config: Any) -> str:
    """The resolved configuration as TOML that `load_config` reads back to an equal one."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None:
            # JSON's scalars are TOML's, but for surrogate escapes and a bare DEL
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{field.name} = {text}")
    return "\n".join(lines) + "\n"


def _typed(key: str, value: Any, hint: Any, where: str) -> Any:
    kinds = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise InputError(f"{where}: {key} = {value!r} is not {expected}")
    return value


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    group: str = "Options",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a command's configuration that is its command-line option, too.

    `help` is what `--help` says, under the heading `group`; a value must be from `low` to `high`,
    or one of `choices`. Without a `default` it has to be given.
    """
    said = {"help": help, "group": group, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata={"option": said})


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InputError, naming the option, unless `value` is one of `known`."""
    if value not in known:
        raise InputError(f"--{name} {value}: choose one of {', '.join(known)}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError, naming the option, unless `value` is from `low` to `high`."""
    if not low <= value <= high:
        raise InputError(f"--{name.replace('_', '-')} {value:g}: must be from {low:g} to {high:g}")
