"""What `edgecd bench` is asked: its options, said once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecd.config import MACHINE, check_options, like, option
from edgecd.runtime.config import PredictConfig

_DATA, _PROMPTS, _OTHERS = "Task and data", "Prompts", "Other systems"


@dataclass(frozen=True)
class BenchConfig:
    """Every choice of `edgecd bench`; InputError for a value out of its range.

    `teacher`, `student`, `shots` and `seed` come from `run` or from the first bundle's provenance
    when not given (models that only a bundle names are not fetched); the demonstrations from `run`,
    or are drawn anew. `baselines` None stands for all that can be measured, `prompt_runtimes` None
    for all that are installed, `rivals` None for all whose needs are there but SetFit.
    """

    task: str = option(help="Built-in name or TOML file.", group=_DATA, path=True)
    ood: tuple[str, ...] = option((), help="Out-of-domain tasks.", group=_DATA, path=True)
    limit: int | None = option(None, help="Examples of each data set.", group=_DATA, low=1)
    split: str | None = option(
        None, help="Of the task (default: validation, else test).", group=_DATA
    )
    with_texts: bool = option(
        False,
        help="Show the inputs of the surest mistakes in the report.",
        group=_DATA,
        flags=("--with-texts",),
    )
    run: Path | None = option(
        None, help="The run folder, for its exact demonstrations.", group=_PROMPTS
    )
    teacher: str | None = option(
        None,
        help="Teacher (default: the run's, or the bundle's if here).",
        group=_PROMPTS,
        path=True,
    )
    student: str | None = option(
        None,
        help="Same-size model (default: as the teacher).",
        group=_PROMPTS,
        path=True,
    )
    shots: int | None = option(None, help="Demonstrations of the ICL rows.", group=_PROMPTS)
    few_shots: tuple[int, ...] = option(
        (4, 8), help="Fewer demonstrations to try the teacher with, or 'none'.", group=_PROMPTS
    )
    draws: int = option(
        3, help="Draws of demonstrations, for the spread of accuracy.", group=_PROMPTS, low=1
    )
    seed: int | None = option(None, help="Of the demonstrations.", group=_PROMPTS)
    baselines: tuple[str, ...] | None = option(
        None, help="Comma-separated ICL rows, 'all' or 'none' (default: all).", group=_PROMPTS
    )
    prompt_runtimes: tuple[str, ...] | None = option(
        None, help="What runs the ICL rows: onnxruntime,torch (default: both).", group=_PROMPTS
    )
    dtype: str = option(
        "auto",
        help="Of prompts in PyTorch.",
        group=_PROMPTS,
        choices=("auto", "float32", "bfloat16"),
    )
    peers: tuple[str, ...] = option(
        (),
        help="Other runtimes for the run's checkpoint, or 'all' that are installed.",
        group=_OTHERS,
    )
    rivals: tuple[str, ...] | None = option(
        None,
        help="Simple classifiers on the run's labels: majority,tfidf,embeddings,encoder,setfit, "
        "'all' or 'none' (default: all but setfit that can be measured).",
        group=_OTHERS,
    )
    encoder: str | None = option(
        None,
        help="Sentence encoder of the rivals; by default the student, where it is one.",
        group=_OTHERS,
        path=True,
    )
    context: tuple[Path, ...] = option(
        (), help="Context files for a language model's bundle.", group=_OTHERS
    )
    rounds: int = option(
        3, help="Times that each row is timed, in turn with the others.", group=MACHINE, low=1
    )
    latency_queries: int | None = option(
        None, help="Timed single queries of each row.", group=MACHINE, low=1
    )
    lengths: tuple[int, ...] = option(
        (), help="Also time bundles and peers on queries of so many tokens: 16,64.", group=MACHINE
    )
    provider: str = like(PredictConfig, "provider")
    threads: int | None = like(PredictConfig, "threads")

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def roles(self) -> tuple[str, ...] | None:
        """The roles of prompts that are asked for; None for all that can be measured."""
        return None if self.baselines == ("all",) else self.baselines

    def published(self) -> dict[str, Any]:
        """All options by name, as a report may tell them: a path by its last part."""
        from edgecd.files import public  # late: every `--help` imports this module

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(one) for one in value]
            return public(str(value) if isinstance(value, Path) else value)

        return {name: plain(value) for name, value in asdict(self).items()}
