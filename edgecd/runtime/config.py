"""What a prediction is asked to do: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecd.config import MACHINE, check_options, option

PROVIDERS = ("cpu", "cuda", "auto")


@dataclass(frozen=True)
class PredictConfig:
    """Every choice of `edgecd predict`; InputError for a value out of its range.

    Below `threshold` (None: the bundle's own) an answer is "unsure", no label. `context` replaces
    the one in a language model's bundle; `threads` None is onnxruntime's choice. The `top` most
    probable labels are told as well.
    """

    context: Path | None = option(None, help="A context file, for a language model's bundle.")
    threshold: float | None = option(
        None, low=0, high=1, help="Probability below which there is no label (the bundle's own)."
    )
    top: int | None = option(None, low=1, help="Also tell so many of the most probable labels.")
    provider: str = option("cpu", group=MACHINE, choices=PROVIDERS, help="What computes.")
    threads: int | None = option(None, group=MACHINE, low=1, help="Threads of the runtime.")

    def __post_init__(self) -> None:
        check_options(self)
