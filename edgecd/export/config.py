"""What an export is asked for: its options, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.config import check_options, one_of, option
from edgecd.errors import InputError
from edgecd.formats.precision import FP32, PRECISIONS, find_precision

if TYPE_CHECKING:
    from edgecd.export.target import Target

EXPORTERS = ("auto", "fused", "torch", "optimum")
LAYOUTS = ("transformers.js",)
_LANGUAGE_MODEL = (
    "a language model needs --task T, whose examples check the bundle, and goes with neither "
    "--trim-vocab, --for nor another --exporter"
)
_GRAPH, _CHECK, _ANSWERS, _MODEL = "Graph", "Check", "Answers", "Of a language model"


@dataclass(frozen=True)
class ExportConfig:
    """Every choice of `edgecd export`; InputError for those that do not go together.

    The precision is given by its name or by a target; neither means fp32.
    """

    precision: str | None = option(
        None,
        help="What weights and inputs are kept in.",
        group=_GRAPH,
        choices=PRECISIONS,
        flags={f"--{one.name}": one.help for one in PRECISIONS.values()},
    )
    target: str | None = option(
        None, help="laptop-cpu, cuda, web or size: precision and gate for it.", group=_GRAPH
    )
    exporter: str = option("auto", help="What writes the graph.", group=_GRAPH, choices=EXPORTERS)
    layout: str | None = option(
        None,
        help="Of an encoder: also as another library loads it, transformers.js.",
        group=_GRAPH,
        flags=("--for",),
    )
    trim_vocab: Path | None = option(
        None,
        help="Keep only tokens that these inputs use (.jsonl, or text by line).",
        group=_GRAPH,
    )
    max_flips: float | None = option(
        None,
        help="Most labels, in percent, that may flip (2; int4: 10); of few, one may.",
        group=_CHECK,
        low=0,
        high=100,
    )
    threshold: float | None = option(
        None, help="Probability below which it is unsure.", group=_ANSWERS, low=0, high=1
    )
    precision_target: float | None = option(
        None,
        help="Share of right answers to expect: sets the threshold, without labels.",
        group=_ANSWERS,
        low=0,
        high=1,
    )
    task: str | None = option(
        None, help="Whose examples check the bundle.", group=_MODEL, path=True
    )
    context: Path | None = option(
        None, help="The context to put in (default: zero-shot).", group=_MODEL
    )

    def __post_init__(self) -> None:
        if self.precision is not None:
            find_precision(self.precision)
        if self.exporter not in EXPORTERS:
            raise InputError(
                f"unknown exporter {self.exporter!r}: choose one of {', '.join(EXPORTERS)}"
            )
        if self.layout is not None:
            one_of("for", self.layout, LAYOUTS)
        check_options(self)
        if self.precision is not None and self.target is not None:
            raise InputError(
                f"--target {self.target} says the precision itself: leave out --{self.precision}"
            )
        if self.exporter == "optimum" and self.trim_vocab is not None:
            raise InputError(
                "Optimum reads the checkpoint with its whole vocabulary: leave out --trim-vocab, "
                "or --exporter optimum"
            )
        if self.threshold is not None and self.precision_target is not None:
            raise InputError("--precision-target sets the threshold: leave out --threshold")
        if (self.task is not None or self.context is not None) and (
            self.trim_vocab or self.layout or self.exporter not in ("auto", "fused")
        ):
            raise InputError(_LANGUAGE_MODEL)

    @property
    def of_language_model(self) -> bool:
        """Whether a language model is exported, not a run; InputError without a task for it."""
        if self.context is not None and self.task is None:
            raise InputError(_LANGUAGE_MODEL)
        return self.task is not None

    @property
    def goal(self) -> Target:
        """Precision and bits of the weights: the target's, or as asked for.

        Raises InputError for an unknown target.
        """
        from edgecd.export.target import Target, load_target  # late: `--help` imports this module

        if self.target is not None:
            return load_target(self.target)
        return Target("", self.precision or FP32)

    @property
    def max_flips_pct(self) -> float:
        """The gate's limit: as given, or the precision's usual one."""
        if self.max_flips is not None:
            return self.max_flips
        return find_precision(self.goal.precision).max_flips_pct
