"""What an export is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.config import option, within
from edgecd.errors import InputError
from edgecd.export.target import Target, load_target
from edgecd.formats.precision import FP32, PRECISIONS, find_precision

EXPORTERS = ("auto", "fused", "torch", "optimum")
_LANGUAGE_MODEL = (
    "a language model needs --task T, whose examples check the bundle, and goes with neither "
    "--trim-vocab nor another --exporter"
)
_GRAPH, _CHECK, _MODEL = "Graph", "Check", "Of a language model"


@dataclass(frozen=True)
class ExportConfig:
    """Every choice of `edgecd export`; InputError for those that do not go together.

    The precision is given by its name, by its flag, or by a target; none of them means fp32.
    """

    precision: str | None = option(
        None, help="fp32 (the default), fp16, int8 or int4, as the flags say.", group=_GRAPH
    )
    fp32: bool = option(False, help="Full precision (the default).", group=_GRAPH)
    fp16: bool = option(False, help="Half precision, for GPUs.", group=_GRAPH)
    int8: bool = option(False, help="8-bit, gated.", group=_GRAPH)
    int4: bool = option(False, help="4-bit weights: smaller, slower.", group=_GRAPH)
    target: str | None = option(
        None, help="laptop-cpu, cuda, web or size: precision and gate for it.", group=_GRAPH
    )
    exporter: str = option("auto", help="auto, fused, torch or optimum.", group=_GRAPH)
    trim_vocab: str | None = option(
        None,
        help="Keep only tokens that these inputs use (.jsonl, or text by line).",
        group=_GRAPH,
    )
    max_flips: float | None = option(
        None,
        help="Most labels, in percent, that may flip (2; int4: 10).",
        group=_CHECK,
        low=0,
        high=100,
    )
    task: str | None = option(
        None, help="Of a language model: whose examples check the bundle.", group=_MODEL
    )
    context: str | None = option(
        None, help="Of a language model: the context to put in (zero-shot).", group=_MODEL
    )

    def __post_init__(self) -> None:
        chosen = [name for name in PRECISIONS if getattr(self, name, False)]
        if self.precision is not None:
            find_precision(self.precision)
            chosen = list(dict.fromkeys([*chosen, self.precision]))
        if len(chosen) > 1:
            raise InputError(f"--{' and --'.join(chosen)} exclude each other: export twice")
        if chosen and self.target is not None:
            raise InputError(
                f"--target {self.target} says the precision itself: leave out --{chosen[0]}"
            )
        if self.exporter not in EXPORTERS:
            raise InputError(
                f"unknown exporter {self.exporter!r}: choose one of {', '.join(EXPORTERS)}"
            )
        if self.max_flips is not None:
            within("max_flips", self.max_flips, 0, 100)
        if self.exporter == "optimum" and self.trim_vocab is not None:
            raise InputError(
                "Optimum reads the checkpoint with its whole vocabulary: leave out --trim-vocab, "
                "or --exporter optimum"
            )
        if (self.task is not None or self.context is not None) and (
            self.trim_vocab or self.exporter not in ("auto", "fused")
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
        if self.target is not None:
            return load_target(self.target)
        flagged = (name for name in PRECISIONS if getattr(self, name, False))
        return Target("", self.precision or next(flagged, FP32))

    @property
    def max_flips_pct(self) -> float:
        """The gate's limit: as given, or the precision's usual one."""
        if self.max_flips is not None:
            return self.max_flips
        return find_precision(self.goal.precision).max_flips_pct
