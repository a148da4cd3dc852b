"""The k shots: chosen balanced, shuffled and seeded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from edgecd.errors import InputError
from edgecd.tasks.task import Example

Shot = tuple[Mapping[str, str], str]
CALIBRATION_INPUTS = 200


def draw_demonstrations(
    examples: Sequence[Example], labels: Sequence[str], shots: int, seed: int, draw: int = 0
) -> tuple[Example, ...]:
    """Draw `shots` labelled examples, as evenly over the labels as it goes, in random order.

    The same (examples, shots, seed, draw) always give the same demonstrations; another `draw`
    gives another set. Raises InputError when a label has too few examples.
    """
    chance = random.Random(f"edgecd demonstrations {seed} {draw}")
    order = list(labels)
    chance.shuffle(order)  # so that a remainder does not always favour the first label
    chosen: list[Example] = []
    for place, label in enumerate(order):
        share = shots // len(order) + (place < shots % len(order))
        pool = [example for example in examples if example.label == label]
        if len(pool) < share:
            raise InputError(
                f"{shots} shots need {share} labelled examples of {label!r}, but the train split "
                f"has {len(pool)}: lower --shots or label more examples"
            )
        chosen += chance.sample(pool, share)
    chance.shuffle(chosen)
    return tuple(chosen)


def calibration_inputs(
    train: Sequence[Example], shots: Sequence[Shot], seed: int
) -> tuple[Mapping[str, str], ...]:
    """Up to CALIBRATION_INPUTS inputs, labels unseen, that are not demonstrations."""
    shown = [dict(fields) for fields, _ in shots]
    pool = [example.fields for example in train if dict(example.fields) not in shown]
    chance = random.Random(f"edgecd calibration {seed}")
    return tuple(chance.sample(pool, min(CALIBRATION_INPUTS, len(pool))))
