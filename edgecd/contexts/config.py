"""What a training of contexts is asked to do: TOML in, resolved TOML out."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.config import one_of, option, within
from edgecd.errors import InputError

ADAPTERS = ("full", "lora")
SEEDS = (13, 21, 42, 87, 100)  # of the paper's tests (arXiv 2403.06914)


@dataclass(frozen=True)
class MendConfig:
    """Every choice of a distiller's training; the defaults are the paper's (arXiv 2403.06914).

    `student` is the language model that will answer, frozen; `distiller` the one that the distiller
    starts from (None: the same). `start` is another run, whose trained weights are the first ones
    of this: stage 1 done once serves several partitions. Stage 1, `pretrain_steps` on `corpus`, is
    left out at 0; stage 2 trains for `steps` on the tasks of `partition`. A step reads `batch_size`
    sets of demonstrations, each with `queries` queries. `data` is the folder that the partition's
    paths are relative to. In a share `symbols` of stage 2 the labels are random words.
    """

    method: str = "mend"
    student: str = "openai-community/gpt2-large"
    distiller: str | None = None
    start: str | None = None
    adapter: str = "full"
    lora_rank: int = 16
    vectors: int = 100
    partition: str = ""
    split: str | None = None
    data: str | None = None
    corpus: str | None = None
    shots: int = 16
    queries: int = 1
    symbols: float = 0.0
    batch_size: int = 1
    max_context: int = 900
    max_query: int = 124
    pretrain_steps: int = 30_000
    pretrain_lr: float = 5e-5
    steps: int = 30_000
    lr: float = 1e-5
    divergence: float = 1.0
    temperature: float = 1.0
    gradient_checkpointing: bool = False
    seed: int = 100
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        one_of("method", self.method, ("mend", "hypertuning", "gist"))
        one_of("adapter", self.adapter, ADAPTERS)
        for name in ("vectors", "shots", "queries", "batch_size", "max_context", "lora_rank"):
            within(name, getattr(self, name), 1, 2**20)
        for name in ("pretrain_steps", "steps", "seed"):
            within(name, getattr(self, name), 0, 2**31)
        for name in ("pretrain_lr", "lr"):
            within(name, getattr(self, name), 1e-9, 10)
        within("max_query", self.max_query, 8, 2**20)
        within("symbols", self.symbols, 0, 1)
        within("divergence", self.divergence, 0, 1e3)
        within("temperature", self.temperature, 1e-3, 1e3)
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

    `student` is the language model that will answer, frozen.
    """

    task: str = "mnli"
    student: str = "facebook/opt-125m"
    method: str = "prompt-tuning"
    vectors: int = 32
    shots: int = 16
    max_length: int = 256
    steps: int = 200
    lr: float = 1e-2
    batch_size: int = 8
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        one_of("method", self.method, ("prompt-tuning",))
        for name in ("vectors", "steps", "batch_size"):
            within(name, getattr(self, name), 1, 2**20)
        within("shots", self.shots, 2, 2**20)
        within("max_length", self.max_length, 8, 2**20)
        within("lr", self.lr, 1e-9, 10)
        within("seed", self.seed, 0, 2**31)


@dataclass(frozen=True)
class MetaTestConfig:
    """Every option of `edgecd meta-test` beside the runs and the folder.

    Each task is asked `limit` queries for each seed and each number of demonstrations in `shots`;
    `matching` are numbers of positions. () and None stand for those of the runs.
    """

    seeds: tuple[int, ...] = option(SEEDS, help="Of demonstrations and queries.")
    limit: int = option(100, help="Queries of each task.", low=1)
    shots: tuple[int, ...] = option((), help="Demonstrations: 16, or 4,8,16 (default: as trained).")
    prompt_steps: int = option(100, help="Steps of prompt tuning beside; 0 leaves it out.", low=0)
    matching: tuple[int, ...] = option(
        (), help="Positions of contexts without training: 32,64 (default: as the runs)."
    )
    partition: str | None = option(None, help="Instead of the run's.")
    split: str | None = option(None, help="Instead of the run's.")
    data: str | None = option(None, help="Folder of the partition's data.")
    device: str = option("auto", help="auto, cpu or cuda.")


KINDS = {
    "mend": MendConfig,
    "hypertuning": MendConfig,
    "gist": MendConfig,
    "prompt-tuning": PromptTuningConfig,
}
