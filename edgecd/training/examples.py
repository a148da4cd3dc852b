"""The examples of a student's training in their roles, and the files that keep them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecd.errors import InputError
from edgecd.files import fingerprint
from edgecd.formats.run import HELDOUT
from edgecd.tasks.demonstrations import (
    Demonstrations,
    draw_contexts,
    draw_demonstrations,
    example_line,
    write_demonstrations,
    write_lines,
)
from edgecd.tasks.splits import read_split
from edgecd.tasks.survey import USUAL_SHOTS, cover, label_counts, remarks, usual_shots
from edgecd.tasks.task import UNLABELLED, Example, Task
from edgecd.training.config import TrainConfig
from edgecd.training.record import Counts, Fingerprints

MONITOR = 128


@dataclass(frozen=True)
class Examples:
    """The task's examples in their roles; no example has two roles.

    `labelled` are all the labels that are used, `contexts` what of them the teacher is shown (see
    `draw_contexts`); `transfer` is what the student trains on, `monitor` decides when to stop
    (neither needs labels), `heldout` is for evaluation and the export's gate.
    """

    labelled: Demonstrations
    contexts: tuple[Demonstrations, ...]
    transfer: tuple[Example, ...]
    monitor: tuple[Example, ...]
    heldout: tuple[Example, ...]

    @property
    def counts(self) -> Counts:
        """How many examples have each role that run.json counts."""
        return Counts(len(self.transfer), len(self.monitor), len(self.heldout))

    def fingerprints(self, scores: tuple[str, ...]) -> Fingerprints:
        """What tells these examples from others, beside the marks of the teacher's `scores`."""

        def of(examples: tuple[Example, ...]) -> str:
            return fingerprint([[one.id, dict(one.fields)] for one in examples])

        return Fingerprints(of(self.contexts[0].examples), of(self.transfer), scores)


def choose_examples(task: Task, config: TrainConfig, say: Callable[[str], None]) -> Examples:
    """Draw demonstrations, transfer, monitor and held-out examples, seeded, without overlap.

    `say` is told how many the splits hold, and what stands out of them. Raises InputError for a
    task without a split to check the student on, or with too few examples.
    """
    train_split = read_split(task, "train")
    say(train_split.say("train"))
    held_name = next((name for name in ("validation", "test") if name in task.data), None)
    if held_name is None:
        raise InputError(
            f"task {task.name!r} has neither a validation nor a test split: add one to [data] in "
            f"{task.source}, so that the student can be checked"
        )
    held = read_split(task, held_name, config.heldout)
    say(held.say(held_name))
    labels = label_counts(train_split.examples, task.labels)
    shots = usual_shots(labels) if config.shots is None else config.shots
    if config.shots is None and shots != USUAL_SHOTS:
        say(f"{shots} demonstrations, as many of each of {len(labels)} labels (--shots)")
    splits = {"train": train_split.examples, held_name: held.examples}
    for remark in remarks(splits, task.labels, cover(labels, shots)):
        say(f"note: {remark}")
    labelled = draw_demonstrations(train_split.examples, task.labels, shots, config.seed)
    count = config.context_draws if len(labelled) else 1
    contexts = draw_contexts(labelled, task.labels, config.context_shots, count, config.seed)
    shown = {example.id for example in labelled}
    rest = [example for example in train_split.examples if example.id not in shown]
    if UNLABELLED in task.data:
        more = read_split(task, UNLABELLED)
        say(more.say(UNLABELLED))
        rest += more.examples
    random.Random(f"edgecd transfer {config.seed}").shuffle(rest)
    monitor_size = min(MONITOR, len(rest) // 8)
    transfer = rest[: max(0, min(config.transfer, len(rest) - monitor_size))]
    monitor = rest[len(transfer) : len(transfer) + monitor_size]
    if config.method == "cd" and not transfer:
        raise InputError(
            f"no examples are left to distil on: the train split has {len(train_split.examples)} "
            f"and {len(shown)} are demonstrations"
        )
    return Examples(labelled, contexts, tuple(transfer), tuple(monitor), held.examples)


def write_examples(out: Path, examples: Examples) -> None:
    """Keep the contexts' demonstrations and the held-out examples in a run folder."""
    write_demonstrations(out, examples.contexts)
    write_lines(out / HELDOUT, [example_line(example) for example in examples.heldout])
