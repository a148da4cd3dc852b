"""What `edgecd bench` is asked: every option, its default and its help."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgecd.config import option
from edgecd.errors import InputError
from edgecd.files import public

FEW_SHOTS = (4, 8)
_DATA, _PROMPTS, _OTHERS, _MACHINE = "Task and data", "Prompts", "Other systems", "Measuring"


@dataclass(frozen=True)
class BenchConfig:
    """Every choice of `edgecd bench`, with its default.

    `teacher`, `student`, `shots` and `seed` come from `run` (a run folder) or from the first
    bundle's provenance when not given; the demonstrations from `run`, or are drawn anew. Lists are
    text with commas between, as the command line takes them. Raises InputError for a number that
    makes no sense.
    """

    task: str = option(help="Built-in name or TOML file.", group=_DATA)
    ood: tuple[str, ...] = option((), help="Out-of-domain tasks.", group=_DATA)
    limit: int | None = option(None, help="Examples of each data set.", group=_DATA, low=1)
    split: str | None = option(
        None, help="Of the task (default: validation, else test).", group=_DATA
    )
    run: str | None = option(
        None, help="The run folder, for its exact demonstrations.", group=_PROMPTS
    )
    teacher: str | None = option(
        None, help="Teacher model; by default the bundle's own.", group=_PROMPTS
    )
    student: str | None = option(
        None, help="Same-size model; by default the bundle's own.", group=_PROMPTS
    )
    shots: int | None = option(None, help="Demonstrations of the ICL rows.", group=_PROMPTS)
    few_shots: str | None = option(
        None,
        help="Fewer demonstrations to try the teacher with, or 'none' (4,8).",
        group=_PROMPTS,
    )
    draws: int = option(
        3, help="Draws of demonstrations, for the spread of accuracy.", group=_PROMPTS, low=1
    )
    seed: int | None = option(None, help="Of the demonstrations.", group=_PROMPTS)
    baselines: str | None = option(
        None, help="Comma-separated ICL rows, 'all' or 'none' (default: all).", group=_PROMPTS
    )
    prompt_runtimes: str | None = option(
        None,
        help="What runs the ICL rows: onnxruntime,torch (default: both).",
        group=_PROMPTS,
    )
    dtype: str = option(
        "auto",
        help="Of prompts in PyTorch.",
        group=_PROMPTS,
        choices=("auto", "float32", "bfloat16"),
    )
    peers: str | None = option(
        None,
        help="Other runtimes for the run's checkpoint, or 'all' that are installed.",
        group=_OTHERS,
    )
    context: tuple[str, ...] = option(
        (), help="Context files for a language model's bundle.", group=_OTHERS
    )
    rounds: int = option(
        3, help="Times that each row is timed, in turn with the others.", group=_MACHINE, low=1
    )
    latency_queries: int | None = option(
        None, help="Timed single queries of each row.", group=_MACHINE, low=1
    )
    provider: str = option("cpu", help="cpu, cuda or auto.", group=_MACHINE)
    threads: int | None = option(None, help="Threads of the runtime.", group=_MACHINE, low=1)

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("rounds", self.rounds), ("draws", self.draws)):
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: at least one is needed")

    @property
    def fewer(self) -> tuple[int, ...]:
        """Smaller numbers of demonstrations; InputError for what is no number."""
        if self.few_shots is None:
            return FEW_SHOTS
        found = _names(self.few_shots)
        if not all(name.isdecimal() for name in found):
            raise InputError(
                f"--few-shots {self.few_shots}: write whole numbers with commas between, or none"
            )
        return tuple(map(int, found))

    @property
    def chosen_baselines(self) -> tuple[str, ...] | None:
        """The roles of prompts that are asked for; None for all that can be measured."""
        return None if self.baselines in (None, "all") else _names(self.baselines)

    @property
    def chosen_runtimes(self) -> tuple[str, ...] | None:
        """What is to run the prompts; None for all that are installed."""
        return None if self.prompt_runtimes is None else _names(self.prompt_runtimes)

    @property
    def chosen_peers(self) -> tuple[str, ...]:
        """The peers that are asked for; `all` stands for those that are installed."""
        return _names(self.peers)

    def published(self) -> dict[str, Any]:
        """All options by name, as a report may tell them: a path by its last part."""
        return {name: public(value) for name, value in asdict(self).items()}


def _names(text: str | None) -> tuple[str, ...]:
    """Names with commas between; none for nothing and for `none`."""
    names = (name.strip() for name in (text or "").split(","))
    return tuple(name for name in names if name not in ("", "none"))
