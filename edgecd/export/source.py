"""A checkpoint as a graph in full precision, from which every other one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.errors import InputError
from edgecd.export.encoder_stack import EncoderStack
from edgecd.export.stack import Past, Stack

if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Source:
    """An fp32 graph, and who wrote it.

    `stack` is there for a fused graph only; `prefix` holds the token ids that the graph holds as
    constants. The graph `is_open` when it is a language model's (see `graph.write_graph`). Where it
    is to serve several prefixes in turn (see `graph.replace_past`), `pasts` holds what each layer
    remembers of each, [prefix][layer], the first one in the graph.
    """

    graph: onnx.ModelProto
    exporter: str
    prefix: tuple[int, ...] = ()
    stack: Stack | EncoderStack | None = None
    is_open: bool = False
    pasts: Sequence[Sequence[Past]] = ()


def fused_graph_of(stack: Stack | EncoderStack, is_open: bool = False) -> onnx.ModelProto:
    """The fp32 graph of a described classifier, of either kind.

    Only a decoder's can be open (see `graph.write_graph`). InputError for an activation that the
    fused graphs do not have.
    """
    from edgecd.export.encoder_graph import write_encoder_graph
    from edgecd.export.graph import write_graph

    if isinstance(stack, EncoderStack):
        return write_encoder_graph(stack)
    return write_graph(stack, is_open)


def read_source(
    model: PreTrainedModel,
    checkpoint: Path,
    exporter: str,
    fused_for: str | None,
    prefix: Sequence[int],
    say: Callable[[str], None],
) -> Source:
    """The checkpoint's graph by one of `config.EXPORTERS`; `auto` prefers the fused one.

    That one alone can hold a prefix, and only a decoder's. `fused_for` names the precision that
    needs it (None: none does): InputError where there is none then, or for a model that does not
    fit one ONNX file.
    """
    from edgecd.export.encoder_stack import ENCODER_FAMILIES, read_encoder
    from edgecd.export.families import FUSED_FAMILIES, read_stack
    from edgecd.export.graph import refuse_too_large
    from edgecd.export.torch_graph import traced_graph

    refuse_too_large(model)
    family = model.config.model_type
    if exporter == "fused" or (exporter == "auto" and family in FUSED_FAMILIES | ENCODER_FAMILIES):
        say(f"writing the fused graph of {family}")
        try:
            if family in ENCODER_FAMILIES:
                encoder = read_encoder(model)
                return Source(fused_graph_of(encoder), "fused", stack=encoder)
            stack = read_stack(model, prefix)
            return Source(fused_graph_of(stack), "fused", tuple(prefix), stack)
        except InputError as bad:
            if exporter == "fused":
                raise
            say(f"no fused graph: {bad}")
    if fused_for is not None:
        raise InputError(
            f"--{fused_for} needs a fused graph, and there is none of {family} by --exporter "
            f"{exporter}: use --fp32"
        )
    if exporter == "optimum":
        from edgecd.export.optimum_graph import optimum_graph

        say("exporting with Optimum")
        return Source(optimum_graph(checkpoint), "optimum")
    say(f"tracing {family} with torch.onnx.export (minutes for a large model)")
    return Source(traced_graph(model), "torch")
