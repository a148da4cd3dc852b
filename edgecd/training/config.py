"""What a distillation or a fine-tuning is asked to do: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgecd.config import MACHINE, METHOD, MODELS, TRAINING, check_options, option
from edgecd.errors import InputError

ADAPTERS = ("lora", "bitfit", "full")
HEADS = ("labels", "vocabulary")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16")
MANY = 2**31


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of `edgecd train` for a student; None means "by method or adapter".

    Raises InputError for a value out of its range, and for options that contradict each other.
    """

    task: str = option("mnli", group=MODELS, path=True, help="Built-in name or TOML file.")
    teacher: str = option(
        "facebook/opt-1.3b", group=MODELS, path=True, help="Folder, hub id or .gguf file."
    )
    student: str = option(
        "facebook/opt-125m", group=MODELS, path=True, help="Folder, hub id or .gguf file."
    )
    method: str = option(
        "cd", group=METHOD, choices=("cd", "pbft"), help="What trains, and on what."
    )
    adapter: str | None = option(
        None,
        group=METHOD,
        choices=ADAPTERS,
        help="Which weights train (decoders: lora; encoders and --layers: full).",
    )
    layers: int | None = option(
        None,
        group=METHOD,
        low=1,
        high=MANY,
        help="Of the student's layers, how many to keep (all).",
    )
    head: str = option(
        "labels",
        group=METHOD,
        choices=HEADS,
        help="vocabulary: PBFT as commonly done, as a reference.",
    )
    pattern: str | None = option(
        None, group=MODELS, help="NLI pattern: minimal, gpt-3 or eval-harness."
    )
    shots: int | None = option(
        None,
        group=METHOD,
        low=0,
        high=MANY,
        help="Labelled examples to show (16, or one a label where there are more).",
    )
    context_shots: int | None = option(
        None, group=METHOD, low=1, high=MANY, help="Of these in one context (all but one a label)."
    )
    context_draws: int = option(
        8, group=METHOD, low=1, high=MANY, help="Subsets and orders of them that are shown."
    )
    draws_per_text: int = option(
        1, group=METHOD, low=1, high=MANY, help="Contexts that each input is scored after."
    )
    calibrate: bool = option(
        True, group=METHOD, help="Take each label's head start off the teacher's scores."
    )
    class_shares: str = option(
        "estimated",
        group=METHOD,
        help="How frequent labels are: estimated, even, or 0.9,0.1 in the task's order.",
    )
    committee: bool = option(
        True,
        group=METHOD,
        help="Add a classifier over an encoder student's embeddings to the teacher.",
    )
    alpha: float = option(0.8, group=METHOD, low=0, high=1, help="Weight of KL against CE.")
    temperature: float = option(
        1.0, group=METHOD, low=1e-3, high=1e3, help="Of teacher and student."
    )
    use_labels: bool = option(False, group=METHOD, help="CE on the transfer set's own labels too.")
    transfer: int = option(2400, group=TRAINING, low=1, high=MANY, help="Inputs to distil on.")
    heldout: int = option(1000, group=TRAINING, low=1, high=MANY, help="Most held-out examples.")
    epochs: float | None = option(
        None,
        group=TRAINING,
        low=1e-9,
        high=1e6,
        help="Passes over the examples (1; --layers: 3; encoders: 5; few-shot pbft: 40).",
    )
    lr: float | None = option(
        None,
        group=TRAINING,
        low=1e-9,
        high=1e6,
        help="Peak learning rate (by adapter, and by an encoder's width).",
    )
    batch_size: int | None = option(
        None,
        group=TRAINING,
        low=1,
        high=MANY,
        help="Examples in a step (cd, pbft: 8, encoders 16).",
    )
    lora_rank: int = option(16, group=METHOD, low=1, high=MANY, help="Rank of LoRA.")
    max_length: int = option(256, group=TRAINING, low=8, high=2**20, help="Tokens of an input.")
    patience: int | None = option(
        None,
        group=TRAINING,
        low=1,
        high=MANY,
        help="Evaluations without progress before stopping (4; encoders: never).",
    )
    seed: int = option(
        0, group=TRAINING, low=0, high=MANY, help="Of demonstrations, order and dropout."
    )
    device: str = option("auto", group=MACHINE, choices=DEVICES, help="What computes.")
    dtype: str = option("auto", group=MACHINE, choices=DTYPES, help="What the models compute in.")
    scores: str | None = option(
        None, group=MACHINE, path=True, help="Folder of teacher scores to share between runs."
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.method == "pbft" and self.shots == 0 and not self.use_labels:
            raise InputError("--method pbft learns from labelled examples: --shots 2 or more")
        if self.head == "vocabulary" and self.method != "pbft":
            raise InputError(
                f"--head vocabulary is how PBFT is commonly done, and --method is {self.method}: "
                "leave --head out, or choose --method pbft"
            )


def settled(
    config: TrainConfig, encoder_width: int | None, loses_layers: bool = False
) -> TrainConfig:
    """The same with every choice made that its method, adapter and student decide.

    `encoder_width` is that of an encoder's states, None for a decoder. PBFT's epochs are the
    literature's for few examples. Wide encoders want smaller steps than the 384 of MiniLM. Nor do
    encoders stop early: their divergence from the teacher is lowest while they know nothing, and
    falls again with the learning rate. Decoders that lose layers have more to learn: of
    SmolLM2-135M with 15 of 30 layers and 500 texts a pass of LoRA makes 0.40 right, one of full
    training 0.59, three 0.68 (the whole model: 0.76).
    """
    whole = encoder_width is None and not loses_layers
    adapter = config.adapter or ("lora" if whole else "full")
    lr = {"lora": 1e-3, "bitfit": 1e-3, "full": 2e-5 if whole else 1e-4}[adapter]
    epochs, batch_size = 3.0 if loses_layers else 1.0, 8
    if encoder_width is not None:
        epochs, batch_size = 5.0, 16
        if adapter == "full":
            lr = 1e-4 * min(1.0, (384 / encoder_width) ** 2)
    if config.method == "pbft" and not config.use_labels:
        epochs = 40.0
    return replace(
        config,
        adapter=adapter,
        epochs=config.epochs or epochs,
        lr=config.lr or lr,
        batch_size=config.batch_size or batch_size,
        patience=config.patience or (4 if encoder_width is None else None),
    )
