"""What a meta-test writes: a row for each answered draw, and the whole result.

The classes declare the JSON of rows.jsonl and meta-test.json; nothing else reads or writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.files import fingerprint, read_json, write_text
from edgecd.formats.record import Inline, LeftOut, from_json, to_json
from edgecd.tasks.metrics import Difference
from edgecd.training.record import FrozenModel

META_TEST_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a meta-test is asked, resolved: two with equal questions have comparable answers.

    `partition` and `tasks` are names; `limit` is the number of queries of each task; `shots` are
    numbers of demonstrations, which take at most `max_context` tokens; `prompt_steps` are those of
    prompt tuning, `matching` the numbers of positions of contexts without training (None in
    a test that had none yet); `runs` holds the SHA-256 of each run's weights by its name.
    """

    partition: str
    tasks: tuple[str, ...]
    language_model: FrozenModel
    seeds: tuple[int, ...]
    limit: int
    shots: tuple[int, ...]
    max_context: int
    prompt_steps: int
    matching: LeftOut[tuple[int, ...] | None] = None
    runs: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Changes with anything that is asked."""
        return fingerprint(to_json(self))


@dataclass(frozen=True)
class MetaRow:
    """One system's answers to the queries of one task, after one draw of demonstrations.

    `positions` are those in front of a query, of which `demonstration_tokens` tokens were made;
    `accuracy_calibrated` is None where the options are not the same for every input.
    """

    system: str
    task: str
    family: str
    seed: int
    shots: int
    queries: int
    positions: int
    demonstration_tokens: int
    accuracy: float
    accuracy_calibrated: float | None

    @property
    def counted(self) -> float:
        """The accuracy that counts: the calibrated one, or the plain one where there is none."""
        calibrated = self.accuracy_calibrated
        return self.accuracy if calibrated is None else calibrated

    @property
    def key(self) -> tuple[str, str, int, int]:
        """(system, task, seed, shots): no two rows of a test have the same."""
        return (self.system, self.task, self.seed, self.shots)


@dataclass(frozen=True)
class SystemSummary:
    """A system after `shots` demonstrations: means over tasks and seeds, and over seeds by task.

    `accuracy` is the one that counts, `share_of_icl` how far it gets from zero-shot (0) to all
    demonstrations in the context (1); None where those two are not apart.
    """

    system: str
    shots: int
    accuracy: float
    accuracy_uncalibrated: float
    accuracy_sd_over_seeds: float | None
    positions: float
    tasks: Mapping[str, float]
    share_of_icl: float | None = None


@dataclass(frozen=True)
class SystemDifference:
    """`system` less `against` in accuracy, paired by task and seed.

    It is ahead in `ahead` of the `pairs`.
    """

    system: str
    shots: int
    against: str
    accuracy: Inline[Difference]
    ahead: int
    pairs: int


@dataclass(frozen=True)
class Summary:
    """What the rows of a meta-test come to, and the rows themselves."""

    systems: tuple[SystemSummary, ...]
    differences: tuple[SystemDifference, ...]
    rows: tuple[MetaRow, ...]


@dataclass(frozen=True)
class MetaTestResult:
    """A whole meta-test: meta-test.json, where its fingerprint stands in front."""

    format: int
    asked: Inline[Asked]
    found: Inline[Summary]


def read_meta_test(path: Path) -> MetaTestResult:
    """What a meta-test.json holds; InputError when it is missing or bad."""
    raw = {key: value for key, value in read_json(path).items() if key != "fingerprint"}
    return from_json(MetaTestResult, raw, str(path))


def meta_test_json(result: MetaTestResult) -> dict[str, Any]:
    """A result as its file holds it."""
    return {"fingerprint": result.asked.fingerprint, **to_json(result)}


def read_meta_rows(path: Path) -> list[MetaRow]:
    """The rows of a rows.jsonl, none where there is no file; a last line that was cut off goes."""
    content = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith("\n")]
    write_text(path, "".join(lines))
    return [from_json(MetaRow, json.loads(line), str(path)) for line in lines]
