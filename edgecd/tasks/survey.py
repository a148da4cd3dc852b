"""What a task's data hold that training should know of; counted without any model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgecd.errors import InputError
from edgecd.tasks.labels import plainly, rows
from edgecd.tasks.splits import Examined, examine
from edgecd.tasks.task import UNLABELLED, Example, Task

USUAL_SHOTS = 16
# A label is strongly favoured with so large a share, or with so many times an even one of many.
_LARGE_SHARE, _TIMES_EVEN, _LEAST_SHARE = 0.75, 4, 0.4
_NAMED = 8

Text = tuple[str, ...]


@dataclass(frozen=True)
class SplitSurvey:
    """What one split holds.

    `labels` counts the examples of each of the task's labels, `spellings` how often each is written
    in which way, where it is not always by its name (mistakes, which training refuses, included);
    `dropped` counts rows by labels that are none of the task's. `duplicates` are examples whose
    text came before, `two_labels` texts that occur with more than one label. `faults` are what
    training refuses, a line each.
    """

    examples: int
    labels: Mapping[str, int]
    unlabelled: int
    spellings: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, int]
    duplicates: int
    two_labels: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """How many examples of the `second` split have a text of the `first`."""

    first: str
    second: str
    examples: int


@dataclass(frozen=True)
class Shots:
    """What so many demonstrations show: `never_shown` labels, and `short` ones.

    `short` has the labelled examples of each label that has fewer than its share.
    """

    number: int
    labels: int
    never_shown: int
    short: Mapping[str, int]


@dataclass(frozen=True)
class Survey:
    """The splits of a task, what they share, what the demonstrations show, and what stands out.

    `examples` are those of each split, `faults` what training refuses, `remarks` what it should be
    told of, a line each.
    """

    splits: Mapping[str, SplitSurvey]
    overlaps: tuple[Overlap, ...]
    shots: Shots | None
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    examples: Mapping[str, Sequence[Example]]


def survey(task: Task, shots: int | None) -> Survey:
    """Read every split of a task to its end; `shots` None stands for the usual number.

    What is wrong is part of the answer, so that all of it is told at once.
    """
    splits: dict[str, SplitSurvey] = {}
    examples: dict[str, Sequence[Example]] = {}
    for name in task.data:
        try:
            found = examine(task, name)
        except InputError as bad:
            splits[name] = SplitSurvey(0, {}, 0, {}, {}, 0, 0, tuple(str(bad).splitlines()))
            continue
        splits[name] = _look_at(task, name, found)
        examples[name] = found.examples
    covered = None
    if examples.get("train"):
        counts = label_counts(examples["train"], task.labels)
        covered = cover(counts, usual_shots(counts) if shots is None else shots)
    faults = [fault for one in splits.values() for fault in one.faults]
    return Survey(
        splits,
        overlaps(examples),
        covered,
        tuple(faults),
        tuple(remarks(examples, task.labels, covered)),
        examples,
    )


def _look_at(task: Task, name: str, found: Examined) -> SplitSurvey:
    faults = found.faults.lines()
    if not found.examples and not faults:
        faults = [f"{task.data[name]}: no examples with a label of [labels]"]
    labels = [one.label for one in found.examples]
    ways = {label: dict(spelt) for label, spelt in found.spelt.items()}
    for spelt, meant in found.mistakes.items():
        ways.setdefault(meant, {})[spelt] = found.unknown[spelt].count
    return SplitSurvey(
        examples=len(labels),
        labels={} if name == UNLABELLED else label_counts(found.examples, task.labels),
        unlabelled=labels.count(None),
        spellings={label: spelt for label, spelt in ways.items() if set(spelt) != {label}},
        dropped={
            label: one.count for label, one in found.unknown.items() if label not in found.mistakes
        },
        duplicates=len(labels) - len({_text(one) for one in found.examples}),
        two_labels=len(ambiguous(found.examples)),
        faults=tuple(faults),
    )


def label_counts(examples: Iterable[Example], labels: Sequence[str]) -> dict[str, int]:
    """How many examples each label has, in the task's order."""
    counts = Counter(example.label for example in examples)
    return {label: counts[label] for label in labels}


def ambiguous(examples: Iterable[Example]) -> set[Text]:
    """The texts that occur with more than one label."""
    known: dict[Text, str] = {}
    found = set()
    for example in examples:
        if example.label is not None:
            text = _text(example)
            if known.setdefault(text, example.label) != example.label:
                found.add(text)
    return found


def overlaps(examples: Mapping[str, Sequence[Example]]) -> tuple[Overlap, ...]:
    """What each two splits share, where they share anything."""
    texts = {name: {_text(one) for one in some} for name, some in examples.items()}
    found = []
    for first, second in combinations(texts, 2):
        if count := sum(_text(one) in texts[first] for one in examples[second]):
            found.append(Overlap(first, second, count))
    return tuple(found)


def usual_shots(counts: Mapping[str, int]) -> int:
    """The number of demonstrations where nobody says one.

    16, or one of each label where there are more labels; fewer, and as many of each, where that
    would be more than half of a label's examples.
    """
    wanted, fewest = max(USUAL_SHOTS, len(counts)), min(counts.values())
    each = max(1, fewest // 2)
    return each * len(counts) if fewest and each * len(counts) < wanted else wanted


def cover(counts: Mapping[str, int], shots: int) -> Shots:
    """What `shots` demonstrations, drawn evenly, show of labels with so many labelled examples."""
    labels = len(counts)
    # Some labels get one more than others, and chance says which.
    share = -(-shots // labels) if shots >= labels else 1
    short = {label: count for label, count in counts.items() if count < share and shots > 0}
    return Shots(shots, labels, max(0, labels - shots) if shots else 0, short)


def remarks(
    examples: Mapping[str, Sequence[Example]], labels: Sequence[str], shots: Shots | None
) -> list[str]:
    """What a training on these splits should be told of, a line each; nothing where all is well."""
    found = []
    for name, some in examples.items():
        texts = {_text(one) for one in some}
        if repeated := len(some) - len(texts):
            found.append(f"{name}: {rows(repeated)} repeat the text of an earlier one")
        if twice := len(ambiguous(some)):
            found.append(f"{name}: {twice:,} texts have two labels: one of them is wrong")
    for one in overlaps(examples):
        if UNLABELLED not in (one.first, one.second):
            found.append(
                f"{one.second}: {rows(one.examples)} are in {one.first}, too: take them out of "
                "one, or figures are better than they should be"
            )
    for name, some in examples.items():
        counts = label_counts(some, labels)
        total = sum(counts.values())
        most = max(counts, key=lambda label: counts[label])
        share = counts[most] / total if total else 0
        if share >= min(_LARGE_SHARE, max(_LEAST_SHARE, _TIMES_EVEN / len(labels))):
            found.append(
                f"{name}: {share:.0%} of the labels are {plainly(most)}, so always answering it is "
                "as often right: look at the accuracy of each label; --class-shares says how "
                "frequent they will be"
            )
        if absent := [label for label, count in counts.items() if total and not count]:
            found.append(f"{name}: no example of {_listed(absent)}")
    return [*found, *_of_shots(shots)]


def _of_shots(shots: Shots | None) -> list[str]:
    if shots is None:
        return []
    found = []
    if shots.never_shown:
        found.append(
            f"--shots {shots.number}: {shots.never_shown} of {shots.labels} labels are never shown "
            f"to the teacher: --shots {shots.labels} shows each once"
        )
    if shots.short:
        told = [f"{plainly(label)} {count}" for label, count in list(shots.short.items())[:_NAMED]]
        more = ", ..." if len(shots.short) > _NAMED else ""
        found.append(
            f"--shots {shots.number}: the train split has too few labelled examples of some labels "
            f"({', '.join(told)}{more}): label more, or lower --shots"
        )
    return found


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more labels" if len(labels) > _NAMED else ""
    return ", ".join(plainly(label) for label in labels[:_NAMED]) + more


def _text(example: Example) -> Text:
    return tuple(value.strip() for value in example.fields.values())
