"""Named targets: what to export for a kind of device, as small TOML files in `targets/`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib import resources

from edgecd.errors import InputError


@dataclass(frozen=True)
class Target:
    """What an export is for.

    `weight_bits` (8 or 7): 7 where the device's 8-bit dot products saturate and nothing at run
    time can avoid them.
    """

    description: str
    precision: str
    weight_bits: int = 8


def target_names() -> list[str]:
    """The targets that `load_target` knows."""
    folder = resources.files("edgecd.export") / "targets"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_target(name: str) -> Target:
    """A target by name; InputError lists the names there are."""
    if name not in target_names():
        raise InputError(f"unknown target {name!r}: choose one of {', '.join(target_names())}")
    text = (resources.files("edgecd.export") / "targets" / f"{name}.toml").read_text("utf-8")
    values = tomllib.loads(text)
    unknown = set(values) - {field.name for field in fields(Target)}
    if unknown:
        raise InputError(f"target {name!r} has unknown keys: {', '.join(sorted(unknown))}")
    return Target(**values)
