"""The demonstrations of one prompt: drawn balanced and seeded, rendered, and kept in a file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError
from edgecd.files import write_text
from edgecd.tasks.encoding import demonstration_ids, token_ids
from edgecd.tasks.prompts import SEPARATOR, PromptTemplate
from edgecd.tasks.readers import read_rows
from edgecd.tasks.task import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEMONSTRATIONS = "demonstrations.jsonl"
CALIBRATION_INPUTS = 200


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations of one prompt, in their order: labelled examples of a task."""

    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, labelled: Iterable[tuple[Mapping[str, str], str]]) -> Demonstrations:
        """Those of (fields, label), numbered as their ids; `plain` gives them back."""
        return cls(
            tuple(
                Example(str(number), dict(fields), label)
                for number, (fields, label) in enumerate(labelled)
            )
        )

    @property
    def plain(self) -> list[tuple[dict[str, str], str]]:
        """(fields, label) of each, as JSON can carry it."""
        return [(dict(one.fields), str(one.label)) for one in self.examples]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def texts(self, template: PromptTemplate) -> list[str]:
        """Each demonstration with its answer; InputError for a missing field or unknown label."""
        texts = []
        for one in self.examples:
            label = str(one.label)
            if label not in template.verbalizer:
                raise InputError(
                    f"label {label!r} of a demonstration is not one of {', '.join(template.labels)}"
                )
            texts.append(template.render(one.fields) + template.verbalizer[label])
        return texts

    def render(self, template: PromptTemplate) -> str:
        """The text in front of every query: demonstrations with their answers, separated.

        The separator before the query belongs to the query: many tokenizers split a blank line
        differently at the end of a text, and the query must look like the demonstrations do.
        Errors as from `texts`.
        """
        return SEPARATOR.join(self.texts(template))

    def ids(
        self, tokenizer: Tokenizer, template: PromptTemplate, limit: int | None = None
    ) -> list[int]:
        """Token ids of the rendered text, with what the tokenizer puts in front; none of none.

        With a `limit` as many of the first demonstrations as fit into it (see
        `demonstration_ids`). Errors as from `texts`.
        """
        if limit is not None:
            return demonstration_ids(tokenizer, self.texts(template), limit)
        return token_ids(tokenizer, self.render(template), special=True) if self.examples else []


def draw_demonstrations(
    examples: Sequence[Example], labels: Sequence[str], count: int, seed: int, draw: int = 0
) -> Demonstrations:
    """Draw `count` labelled examples, as evenly over the labels as it goes, in random order.

    The same (examples, count, seed, draw) always give the same demonstrations; another `draw`
    gives another set. Raises InputError when a label has too few examples.
    """
    chance = random.Random(f"edgecd demonstrations {seed} {draw}")
    order = list(labels)
    chance.shuffle(order)  # so that a remainder does not always favour the first label
    chosen: list[Example] = []
    for place, label in enumerate(order):
        share = count // len(order) + (place < count % len(order))
        pool = [example for example in examples if example.label == label]
        if share and not pool:
            raise InputError(
                f"the train split has no labelled example of {label!r}, and {count} shots show "
                f"each label: label some, or take {label!r} out of [labels]"
            )
        if len(pool) < share:
            raise InputError(
                f"{count} shots need {share} labelled examples of {label!r}, but the train split "
                f"has {len(pool)}: lower --shots or label more examples"
            )
        chosen += chance.sample(pool, share)
    chance.shuffle(chosen)
    return Demonstrations(tuple(chosen))


def draw_contexts(
    labelled: Demonstrations, labels: Sequence[str], size: int | None, count: int, seed: int
) -> tuple[Demonstrations, ...]:
    """`count` contexts of `size` demonstrations each, drawn from the same labelled examples.

    Every one is a subset, as evenly over the labels as it goes, in an order of its own; each
    example comes in as many contexts as any other of its label, give or take one. By default
    (None) the first one is all of them as they come, and the others leave out one of each label,
    where that leaves as many: what they leave out tells what a context is worth. Seeded.
    """
    contexts = [labelled] if size is None or size >= len(labelled) else []
    if size is None:
        spare = len(labels) if len(labelled) >= 2 * len(labels) else 0
        size = len(labelled) - spare
    size = min(size, len(labelled))
    chance = random.Random(f"edgecd contexts {seed}")
    decks = {label: _Deck([e for e in labelled if e.label == label], chance) for label in labels}
    while len(contexts) < count:
        order = sorted(labels, key=lambda label: (decks[label].dealt, chance.random()))
        shares = {label: size // len(order) for label in order}
        for label in order[: size % len(order)]:
            shares[label] += 1
        chosen = [example for label in labels for example in decks[label].deal(shares[label])]
        chance.shuffle(chosen)
        contexts.append(Demonstrations(tuple(chosen)))
    return tuple(contexts[:count])


class _Deck:
    """The labelled examples of one label, dealt in turn; no example twice in one hand."""

    def __init__(self, examples: Sequence[Example], chance: random.Random) -> None:
        self._examples = list(examples)
        self._chance = chance
        self._waiting: list[Example] = []
        self.dealt = 0

    def deal(self, count: int) -> list[Example]:
        hand: list[Example] = []
        count = min(count, len(self._examples))
        while len(hand) < count:
            if not self._waiting:
                self._waiting = [e for e in self._examples if e not in hand]
                self._chance.shuffle(self._waiting)
            hand.append(self._waiting.pop())
        self.dealt += count
        return hand


def calibration_inputs(
    train: Sequence[Example], shown: Iterable[Example], seed: int
) -> tuple[Mapping[str, str], ...]:
    """Up to CALIBRATION_INPUTS inputs, labels unseen, that are not among those `shown`."""
    taken = [dict(example.fields) for example in shown]
    pool = [example.fields for example in train if dict(example.fields) not in taken]
    chance = random.Random(f"edgecd calibration {seed}")
    return tuple(chance.sample(pool, min(CALIBRATION_INPUTS, len(pool))))


def write_demonstrations(folder: Path, draws: Sequence[Demonstrations]) -> None:
    """Keep several draws of demonstrations in a run folder, a line each (`draw` counts from 0)."""
    lines = [
        {"draw": number, **example_line(example)}
        for number, draw in enumerate(draws)
        for example in draw
    ]
    write_lines(folder / DEMONSTRATIONS, lines)


def read_demonstrations(folder: Path) -> Demonstrations | None:
    """The first draw kept in a run folder; None when there is none (a bundle has none).

    Raises InputError, naming the line, for a file that is not what a run writes.
    """
    draws = _read_draws(folder)
    return None if draws is None else Demonstrations(tuple(one for draw, one in draws if draw == 0))


def read_labelled(folder: Path) -> Demonstrations | None:
    """Every labelled example that a run used, each once; see `read_demonstrations`."""
    draws = _read_draws(folder)
    return (
        None if draws is None else Demonstrations(tuple({one.id: one for _, one in draws}.values()))
    )


def _read_draws(folder: Path) -> list[tuple[int, Example]] | None:
    path = folder / DEMONSTRATIONS
    if not path.is_file():
        return None
    kept: list[tuple[int, Example]] = []
    for row in read_rows(str(path)):
        fields, label = row.values.get("fields"), row.values.get("label")
        if not isinstance(fields, dict) or not isinstance(label, str):
            raise InputError(f"{row.where}: not a demonstration (it needs fields and a label)")
        draw = row.values.get("draw", 0)  # a run has several contexts; one prompt has one
        kept.append((draw, Example(str(row.values.get("id", row.number)), fields, label)))
    return kept


def example_line(example: Example) -> dict[str, Any]:
    """An example as a run folder's files keep it: `id`, `fields`, `label` (null when unknown)."""
    return {"id": example.id, "fields": dict(example.fields), "label": example.label}


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write objects as a file of JSON lines, atomically."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(path, text)
