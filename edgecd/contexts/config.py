"""What a training of contexts, or the making of one, is asked to do: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecd.config import CONTEXTS, MODELS, check_options, like, option
from edgecd.errors import InputError
from edgecd.training.config import MANY, TrainConfig

_ADAPTERS = ("full", "lora")
DISTILLERS = ("mend", "hypertuning", "gist")
SEEDS = (13, 21, 42, 87, 100)  # of the paper's tests (arXiv 2403.06914)
ATTENTION = "With --attention"
QUERIES, BESIDE = "Tasks and queries", "Beside the runs"


@dataclass(frozen=True)
class MendConfig:
    """Every choice of a distiller's training; the defaults are the paper's (arXiv 2403.06914).

    `student` is the language model that will answer, frozen. Stage 1, `pretrain_steps` on `corpus`,
    is left out at 0; stage 2 trains for `steps` on the tasks of `partition`. A step reads
    `batch_size` sets of demonstrations, each with `queries` queries. Raises InputError for a value
    out of its range, and for options that contradict each other.
    """

    method: str = like(TrainConfig, "method", "mend", choices=DISTILLERS)
    student: str = like(TrainConfig, "student", "openai-community/gpt2-large")
    distiller: str | None = option(
        None,
        group=CONTEXTS,
        path=True,
        help="What the distiller starts from (default: the student).",
    )
    start: str | None = option(
        None,
        group=CONTEXTS,
        path=True,
        help="A run to go on from, as one of stage 1 for many partitions.",
    )
    adapter: str = like(TrainConfig, "adapter", "full", choices=_ADAPTERS)
    lora_rank: int = like(TrainConfig, "lora_rank", high=2**20)
    vectors: int = option(100, group=CONTEXTS, low=1, high=2**20, help="Positions of a context.")
    partition: str = option(
        "", group=CONTEXTS, path=True, help="A file of tasks to train on, and to test on."
    )
    split: str | None = option(None, group=CONTEXTS, help="Which split of the partition.")
    data: str | None = option(
        None, group=CONTEXTS, path=True, help="Folder that the partition's paths are relative to."
    )
    corpus: str | None = option(
        None,
        group=CONTEXTS,
        path=True,
        help="Plain text for stage 1, a file or NAME:CONFIG:SPLIT.",
    )
    shots: int = like(TrainConfig, "shots", 16, low=1, high=2**20)
    queries: int = option(
        1, group=CONTEXTS, low=1, high=2**20, help="Queries for each set of demonstrations."
    )
    symbols: float = option(
        0.0, group=CONTEXTS, low=0, high=1, help="Share of stage 2 whose labels are random words."
    )
    batch_size: int = like(TrainConfig, "batch_size", 1, high=2**20)
    max_context: int = option(
        900, group=CONTEXTS, low=1, high=2**20, help="Tokens of the demonstrations."
    )
    max_query: int = option(124, group=CONTEXTS, low=8, high=2**20, help="Tokens of a query.")
    pretrain_steps: int = option(
        30_000, group=CONTEXTS, low=0, high=MANY, help="Steps of stage 1; 0 leaves it out."
    )
    pretrain_lr: float = option(
        5e-5, group=CONTEXTS, low=1e-9, high=10, help="Peak learning rate of stage 1."
    )
    steps: int = option(30_000, group=CONTEXTS, low=0, high=MANY, help="Steps (mend: of stage 2).")
    lr: float = like(TrainConfig, "lr", 1e-5, high=10)
    divergence: float = option(
        1.0, group=CONTEXTS, low=0, high=1e3, help="Weight of the divergence from the teacher."
    )
    temperature: float = like(TrainConfig, "temperature")
    gradient_checkpointing: bool = option(
        False,
        group=CONTEXTS,
        flags=("--gradient-checkpointing",),
        help="Less memory for more time (not for gist).",
    )
    seed: int = like(TrainConfig, "seed", 100)
    device: str = like(TrainConfig, "device")
    dtype: str = like(TrainConfig, "dtype")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.partition:
            raise InputError(
                "a distiller learns from tasks: name a partition file (partition = ... in the "
                "config file, or --partition)"
            )
        if self.gradient_checkpointing and self.method == "gist":
            raise InputError(
                "gradient checkpointing keeps no keys and values: not for --method gist"
            )
        if self.pretrain_steps and self.corpus is None:
            raise InputError(
                "stage 1 reads plain text: name a corpus (corpus = ..., or --corpus), or leave "
                "the stage out with pretrain_steps = 0"
            )


@dataclass(frozen=True)
class PromptTuningConfig:
    """Every choice of prompt tuning: `vectors` trained on a task's `shots` demonstrations alone.

    `student` is the language model that will answer, frozen. Raises InputError for a value out of
    its range.
    """

    task: str = like(TrainConfig, "task")
    student: str = like(TrainConfig, "student")
    method: str = like(TrainConfig, "method", "prompt-tuning", choices=("prompt-tuning",))
    vectors: int = like(MendConfig, "vectors", 32)
    shots: int = like(TrainConfig, "shots", 16, low=2, high=2**20)
    max_length: int = like(TrainConfig, "max_length")
    steps: int = like(MendConfig, "steps", 200, low=1, high=2**20)
    lr: float = like(TrainConfig, "lr", 1e-2, high=10)
    batch_size: int = like(TrainConfig, "batch_size", 8, high=2**20)
    seed: int = like(TrainConfig, "seed")
    device: str = like(TrainConfig, "device")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class CompressConfig:
    """Every choice of `edgecd compress`: which demonstrations, and what makes a context of them.

    `distiller` is the run folder of one, or its export; with `model` alone the demonstrations stay
    as they are (method `none`), or are fitted into `positions` (method `matching`). Raises
    InputError for a value out of its range, and for options that contradict each other.
    """

    task: str = option(group=MODELS, path=True, help="Built-in name or TOML file.")
    distiller: Path | None = option(
        None, group=MODELS, help="A run of --method mend, gist or hypertuning, or its export."
    )
    bundle: Path | None = option(
        None, group=MODELS, help="Without PyTorch: the language model, to calibrate with."
    )
    model: str | None = option(
        None,
        group=MODELS,
        path=True,
        help="Train nothing: keep all demonstrations, for this language model.",
    )
    positions: int | None = option(
        None, group=CONTEXTS, low=1, help="With --model: in so few, fitted to unlabelled inputs."
    )
    shots: int = option(16, group=CONTEXTS, low=0, help="Demonstrations; 0 for none (zero-shot).")
    seed: int = option(0, group=CONTEXTS, help="Of the demonstrations.")
    max_length: int = option(256, group=CONTEXTS, low=8, help="Tokens of an input.")
    calibrate: bool = option(
        True, group=CONTEXTS, help="Take each label's mean off, on unlabelled inputs."
    )
    precision: str = option(
        "int8",
        group=CONTEXTS,
        choices=("int8", "fp16"),
        flags={"--int8": "8 bits (the default).", "--fp16": "16 bits instead of 8."},
        help="How the context is kept.",
    )
    device: str = like(TrainConfig, "device")

    def __post_init__(self) -> None:
        check_options(self)
        if (self.distiller is None) == (self.model is None):
            raise InputError(
                "say what compresses: --distiller RUN, or --model M to keep all tokens"
            )
        if self.positions is not None and self.model is None:
            raise InputError(
                "a distiller has its own number of positions: --positions is for --model M"
            )


@dataclass(frozen=True)
class AttentionConfig:
    """Whose demonstrations a distiller reads while `edgecd inspect --attention` looks on."""

    task: str | None = option(
        None, group=ATTENTION, path=True, help="Whose demonstrations it reads."
    )
    shots: int = option(8, group=ATTENTION, low=1, help="Demonstrations that it reads.")
    seed: int = option(0, group=ATTENTION, help="Of the demonstrations.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class MetaTestConfig:
    """Every option of `edgecd meta-test` beside the runs and the folder.

    Each task is asked `limit` queries for each seed and each number of demonstrations in `shots`;
    `matching` are numbers of positions. () and None stand for those of the runs. Raises InputError
    for a value out of its range.
    """

    seeds: tuple[int, ...] = option(
        SEEDS, group=QUERIES, low=0, help="Of demonstrations and queries."
    )
    limit: int = option(100, group=QUERIES, low=1, help="Queries of each task.")
    shots: tuple[int, ...] = option(
        (), group=QUERIES, low=0, help="Demonstrations: 16, or 4,8,16 (default: as trained)."
    )
    partition: str | None = option(None, group=QUERIES, path=True, help="Instead of the run's.")
    split: str | None = option(None, group=QUERIES, help="Instead of the run's.")
    data: str | None = option(
        None, group=QUERIES, path=True, help="Folder of the partition's data."
    )
    prompt_steps: int = option(
        100, group=BESIDE, low=0, help="Steps of prompt tuning; 0 leaves it out."
    )
    matching: tuple[int, ...] = option(
        (),
        group=BESIDE,
        low=1,
        help="Positions of contexts without training: 32,64 (default: as the runs).",
    )
    device: str = like(TrainConfig, "device")

    def __post_init__(self) -> None:
        check_options(self)
