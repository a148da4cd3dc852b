"""Every graph that an export may choose from, the fastest first."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.errors import InputError
from edgecd.export.calibrate import Feed, calibrate

if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel

    from edgecd.export.stack import Stack

EXPORTERS = ("auto", "fused", "torch", "optimum")


@dataclass(frozen=True)
class Source:
    """A checkpoint as a graph in full precision, and who wrote it.

    `stack` is there for a fused graph only; `prefix` holds the token ids that the graph holds as
    constants. The graph `is_open` when it is a language model's (see `graph.write_graph`).
    """

    graph: onnx.ModelProto
    exporter: str
    prefix: tuple[int, ...] = ()
    stack: Stack | None = None
    is_open: bool = False


@dataclass(frozen=True)
class Candidate:
    """A graph, how it was treated, and in what words that is told."""

    treatment: str
    description: str
    graph: onnx.ModelProto


def read_source(
    model: PreTrainedModel,
    checkpoint: Path,
    exporter: str,
    precision: str,
    prefix: Sequence[int],
    report: Callable[[str], None],
) -> Source:
    """The checkpoint's graph; `auto` prefers the fused one.

    That one alone can hold a prefix, and be halved: InputError for fp16 where there is none.
    """
    from edgecd.export.graph import refuse_too_large, write_graph
    from edgecd.export.stack import FUSED_FAMILIES, read_stack
    from edgecd.export.torch_graph import traced_graph

    refuse_too_large(model)
    family = model.config.model_type
    if exporter == "fused" or (exporter == "auto" and family in FUSED_FAMILIES):
        report(f"writing the fused graph of {family}")
        try:
            stack = read_stack(model, prefix)
            return Source(write_graph(stack), "fused", tuple(prefix), stack)
        except InputError as bad:
            if exporter == "fused":
                raise
            report(f"no fused graph: {bad}")
    if precision == "fp16":
        raise InputError(
            f"--fp16 needs a fused graph, and there is none of {family} by --exporter {exporter}: "
            "use --fp32"
        )
    if exporter == "optimum":
        from edgecd.export.optimum_graph import optimum_graph

        report("exporting with Optimum")
        return Source(optimum_graph(checkpoint), "optimum")
    report(f"tracing {family} with torch.onnx.export (minutes for a large model)")
    return Source(traced_graph(model), "torch")


def candidates(
    source: Source,
    precision: str,
    feeds: Sequence[Feed],
    weight_bits: int,
    report: Callable[[str], None],
) -> Iterator[Candidate]:
    """Graphs of that precision, each made when it is asked for; `feeds` calibrate."""
    if precision == "fp32":
        return iter([Candidate("fp32", "full precision", source.graph)])
    if precision == "fp16":
        from edgecd.export.half import half_graph

        return iter([Candidate("fp16", "half precision", half_graph(source.graph))])
    return _quantized(source, precision, feeds, weight_bits, report)


def _quantized(
    source: Source,
    precision: str,
    feeds: Sequence[Feed],
    weight_bits: int,
    report: Callable[[str], None],
) -> Iterator[Candidate]:
    from edgecd.export.graph import write_graph
    from edgecd.export.precondition import smooth, spread
    from edgecd.export.quantize import INT4_TREATMENTS, int8_treatments, quantize, rounder

    report(f"calibrating on {sum(len(feed['input_ids']) for feed in feeds)} texts")
    graph, stack, is_open = source.graph, source.stack, source.is_open
    del source  # every copy of the weights counts
    # int4 rounds its inputs by block anyway, and its weights are better left as they are.
    if stack is not None and precision == "int8":
        inputs = calibrate(graph, feeds, grams=False)
        del graph
        gc.collect()  # views of a graph refer to each other
        graph = write_graph(spread(smooth(stack, inputs)), is_open)
    del stack
    gc.collect()
    inputs = calibrate(graph, feeds)
    round_linear = rounder(inputs)
    for treatment in int8_treatments(inputs) if precision == "int8" else INT4_TREATMENTS:
        report(f"rounding weights: {treatment.name}")
        yield Candidate(
            treatment.name,
            treatment.description,
            quantize(graph, treatment, round_linear, weight_bits),
        )
