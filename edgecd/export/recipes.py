"""How the graphs of each precision are made: every candidate, the fastest first.

RECIPES has a row for each of `formats.precision.PRECISIONS`. A student, a language model that takes
contexts, a prompt and a compressor are all made by the same rows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgecd.console import Reporter
from edgecd.export.activations import Feed, LinearInput, measure_activations
from edgecd.export.encoder_stack import EncoderStack
from edgecd.export.quantize import (
    INT4_TREATMENTS,
    WEIGHTS_ONLY,
    Treatment,
    int8_treatments,
    quantize,
    rounder,
)
from edgecd.export.source import Source, fused_graph_of
from edgecd.export.stack import Past, Stack, join_pasts, split_pasts, with_pasts

if TYPE_CHECKING:
    import onnx

Pasts = Sequence[Sequence[Past]]


@dataclass(frozen=True)
class Candidate:
    """A graph, how it was treated, and in what words that is told.

    `pasts` are the source's [prefix][layer], as this graph takes them (see `graph.replace_past`).
    """

    treatment: str
    description: str
    graph: onnx.ModelProto
    pasts: Pasts = ()


@dataclass(frozen=True)
class Recipe:
    """What makes the graphs of one precision.

    `make` takes a source, feeds on which activations are measured, the bits of the weights (8, or
    7 for devices whose 8-bit dot products saturate), and what hears of the progress. Each candidate
    is made when it is asked for, and the source is let go of. `needs_fused`: of a fused graph only.
    `compressor` makes a distiller's graph, which has no feeds and one treatment; None for a
    precision that it is not made in.
    """

    make: Callable[[Source, Sequence[Feed], int, Reporter], Iterator[Candidate]]
    needs_fused: bool = False
    compressor: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None


def _full(
    source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
) -> Iterator[Candidate]:
    yield Candidate("fp32", "full precision", source.graph, source.pasts)


def _half(
    source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
) -> Iterator[Candidate]:
    from edgecd.export.half import half_graph

    yield Candidate("fp16", "half precision", half_graph(source.graph), source.pasts)


def _int8(
    source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
) -> Iterator[Candidate]:
    reporter.say(f"measuring activations on {_texts(feeds)} texts")
    graph, stack, pasts, is_open = source.graph, source.stack, source.pasts, source.is_open
    del source  # every copy of the weights counts
    if stack is not None:
        inputs = measure_activations(graph, feeds, grams=False)
        del graph
        gc.collect()  # views of a graph refer to each other
        stack, pasts = _evened_out(stack, pasts, inputs)
        graph = fused_graph_of(stack, is_open)
    del stack
    gc.collect()
    inputs = measure_activations(graph, feeds)
    yield from _rounded(graph, pasts, int8_treatments(inputs), inputs, weight_bits, reporter)


def _int4(
    source: Source, feeds: Sequence[Feed], weight_bits: int, reporter: Reporter
) -> Iterator[Candidate]:
    """Its inputs are rounded by block anyway, so its weights are better left as they are."""
    reporter.say(f"measuring activations on {_texts(feeds)} texts")
    graph, pasts = source.graph, source.pasts
    del source
    inputs = measure_activations(graph, feeds)
    yield from _rounded(graph, pasts, INT4_TREATMENTS, inputs, weight_bits, reporter)


def _rounded(
    graph: onnx.ModelProto,
    pasts: Pasts,
    treatments: Sequence[Treatment],
    inputs: Mapping[str, LinearInput],
    weight_bits: int,
    reporter: Reporter,
) -> Iterator[Candidate]:
    round_linear = rounder(inputs)
    for treatment in treatments:
        what = f"rounding weights: {treatment.name}"
        reporter.say(what)
        progress = partial(reporter.progress, what)
        quantized = quantize(graph, treatment, round_linear, weight_bits, progress)
        yield Candidate(treatment.name, treatment.description, quantized, pasts)


def _evened_out(
    stack: Stack | EncoderStack, pasts: Pasts, inputs: Mapping[str, LinearInput]
) -> tuple[Stack | EncoderStack, Pasts]:
    """The weights rewritten so that 8 bits hold the activations, with the same logits.

    What rewrites the weights rewrites keys and values, too, so all prefixes go through as one.
    """
    from edgecd.export.encoder_precondition import smooth_encoder
    from edgecd.export.precondition import smooth, spread

    if isinstance(stack, EncoderStack):
        return spread(smooth_encoder(stack, inputs)), ()
    if not pasts:
        return spread(smooth(stack, inputs)), ()
    whole = with_pasts(stack, [join_pasts(layer) for layer in zip(*pasts, strict=True)])
    rewritten = spread(smooth(whole, inputs))
    lengths = [layers[0].keys.shape[1] for layers in pasts]
    found = split_pasts([block.attention.past for block in rewritten.blocks], lengths)
    return with_pasts(rewritten, found[0]), found


def _texts(feeds: Sequence[Feed]) -> int:
    return sum(len(next(iter(feed.values()))) for feed in feeds)


RECIPES: dict[str, Recipe] = {
    "fp32": Recipe(_full, compressor=lambda graph: graph),
    "fp16": Recipe(_half, needs_fused=True),
    "int8": Recipe(_int8, compressor=lambda graph: quantize(graph, WEIGHTS_ONLY)),
    "int4": Recipe(_int4),
}
