"""What the export reads from a run folder: what it says of itself, and the merged checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.contexts.methods import COMPRESSOR, writes
from edgecd.errors import InputError, require
from edgecd.files import public
from edgecd.formats.run import RUN, read_run
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

_HOW_MADE = (
    "teacher",
    "student",
    "licences",
    "method",
    "adapter",
    "layers",
    "parameters",
    "shots",
    "context_shots",
    "context_draws",
    "draws_per_text",
    "calibrate",
    "class_shares",
    "committee",
    "alpha",
    "temperature",
    "transfer",
    "epochs",
    "lr",
    "seed",
    "fingerprints",
    "timings_s",
    "peak_rss_bytes",
    "versions",
)


@dataclass(frozen=True)
class RunFolder:
    """A finished run: its task, prompt, tokenizer, and how it was made.

    Its prompts continue demonstrations where it is a language model `after_context`.
    """

    task: str
    template: PromptTemplate
    max_length: int
    pad_token_id: int
    made: Mapping[str, Any]
    tokenizer: Tokenizer
    after_context: bool = False


def is_distiller(run: Path) -> bool:
    """Whether a run folder is of a training that makes contexts."""
    return (run / RUN).exists() and writes(read_run(run).method, (COMPRESSOR,))


def load_run(run: Path) -> tuple[RunFolder, PreTrainedModel]:
    """What a run says of itself, and its checkpoint in fp32; InputError says what is missing."""
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if (run / "config.json").exists():
        raise InputError(
            f"{run} is a language model, not a run: to export it for contexts give --task T, whose "
            "examples check the bundle"
        )
    made = read_run(run)
    task = made.task
    checkpoint = run / "checkpoint"
    for needed in ("config.json", "tokenizer.json"):
        if not (checkpoint / needed).exists():
            raise InputError(
                f"{checkpoint / needed} is missing: the training has not ended; "
                "go on with edgecd train --resume"
            )
    for module in ("torch", "transformers"):
        require(module, "train")
    from edgecd.lm.checkpoint import load_checkpoint

    model = load_checkpoint(checkpoint)
    columns = tuple(model.config.id2label[n] for n in range(model.config.num_labels))
    if columns != task.prompt.labels:
        raise InputError(
            f"{checkpoint}: its labels are {', '.join(columns)}, and the task's in run.json "
            f"{', '.join(task.prompt.labels)}: train the run again"
        )
    if model.config.pad_token_id is None:
        raise InputError(f"{checkpoint / 'config.json'} has no pad_token_id: train the run again")
    folder = RunFolder(
        task=task.name,
        template=task.prompt,
        max_length=task.max_length,
        pad_token_id=model.config.pad_token_id,
        made={key: public(made.values.get(key)) for key in _HOW_MADE},
        tokenizer=load_tokenizer(checkpoint / "tokenizer.json"),
    )
    return folder, model
