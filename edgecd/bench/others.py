"""What a benchmark measures beside bundles and prompts: rivals and peers, and why some are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.bench import peers
from edgecd.bench.config import BenchConfig
from edgecd.bench.needs import listed
from edgecd.bench.rivals import registry
from edgecd.bench.systems.base import System
from edgecd.bench.systems.choose import Others
from edgecd.bench.systems.given import Bundle, Models
from edgecd.errors import InputError

CHECKPOINT = "checkpoint"


def choose_others(
    config: BenchConfig, bundle: Bundle | None, models: Models, labels: int
) -> tuple[Others, list[str]]:
    """(what to measure, why others are not), for so many labelled examples.

    `bundle` was made from the run's checkpoint, None where none of the bundles was. Raises
    InputError for an unknown name, an `encoder` that is not there, rivals that are asked for where
    there are no labels, and peers without such a bundle.
    """
    chosen, absent = _choose_peers(config.peers)
    if chosen and config.run is not None and bundle is None:
        raise InputError(
            f"--peers: they read texts as a bundle of their run does, and none is of {config.run}"
        )
    checkpoint = None if config.run is None else config.run / CHECKPOINT
    encoder = _encoder(config.encoder) or models.encoder
    rivals, without = _choose_rivals(config.rivals, encoder, labels)
    others = Others(chosen, checkpoint, bundle.folder if bundle else None, rivals, encoder)
    return others, [*absent, *without]


def rival_notes(systems: Sequence[System], labels: int, made: Mapping[str, Any]) -> Iterator[str]:
    """What the rivals learned from, next to what the student was `made` from; nothing without any.

    `made` is the run's `run.json`, or the first bundle's provenance.
    """
    rivals = [one for one in systems if one.kind == "rival"]
    if not rivals:
        return
    text = f"{listed([f'`{one.name}`' for one in rivals])} learned from the labels of {labels} "
    text += "examples that a prompt shows, and from no others"
    if encoder := next((one.model for one in rivals if one.model), None):
        text += f"; their sentence encoder is {Path(encoder).name}"
    yield f"{text}."
    if made.get("use_labels"):
        yield "The student was trained on other labels of the train split, too (--use-labels)."


def _choose_peers(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """(peers to measure, why others are not); `all` stands for what is installed."""
    if list(names) == ["all"]:
        return peers.installed(), []
    for name in names:
        peers.find(name)
    reasons = {name: peers.missing_reason(name) for name in names}
    absent = [f"{name} was left out: {reason}." for name, reason in reasons.items() if reason]
    return tuple(name for name in names if not reasons[name]), absent


def _choose_rivals(
    asked: Sequence[str] | None, encoder: str | None, labels: int
) -> tuple[tuple[str, ...], list[str]]:
    """(rivals to measure, why others are not); None stands for all that are usual."""
    names = registry.NAMES
    if asked is None:
        names = tuple(one.name for one in registry.RIVALS if one.usual)
    elif list(asked) != ["all"]:
        names = tuple(dict.fromkeys(asked))
    reasons = {name: registry.missing_reason(name) for name in names}
    if names and not labels:
        if asked is not None:
            raise InputError(
                "rivals learn from the demonstrations' labels, and there are none: give --shots, "
                "or --rivals none"
            )
        return (), []
    absent = [f"{name} was left out: {reason}." for name, reason in reasons.items() if reason]
    possible = [name for name in names if not reasons[name]]
    waiting = [
        name for name in possible if encoder is None and registry.find(name).sentence_encoder
    ]
    if waiting:
        were = "was" if len(waiting) == 1 else "were"
        absent.append(
            f"{listed(waiting)} {were} left out: they start from a sentence encoder, which the "
            "student is not: give one with --encoder."
        )
    return tuple(name for name in possible if name not in waiting), absent


def _encoder(given: str | None) -> str | None:
    """The encoder that is asked for, if any; InputError for a folder that is not there."""
    if given is not None:
        looks_local = given.count("/") > 1 or given.startswith((".", "/", "~"))
        if looks_local and not Path(given).expanduser().is_dir():
            raise InputError(f"--encoder {given}: no such folder")
    return given
