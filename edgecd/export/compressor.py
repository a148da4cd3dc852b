"""From a distiller's run to a compressor folder: one graph from demonstrations to a context."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.console import SILENT, Reporter
from edgecd.errors import CheckFailed, InputError
from edgecd.export.config import ExportConfig
from edgecd.export.context_graphs import (
    gist_graph,
    prefix_graph,
    reader_graph,
    tokens_graph,
    vectors_graph,
)
from edgecd.export.convert import need_export
from edgecd.export.families import read_stack
from edgecd.export.graph import PROTOBUF_LIMIT_BYTES
from edgecd.export.recipes import RECIPES
from edgecd.export.stack import Linear, Stack
from edgecd.export.tape import IR_VERSION
from edgecd.files import public, sha256_file, write_json, write_text
from edgecd.formats.compressor import FACTS, CompressorFacts, facts_json
from edgecd.formats.contract import HEAD, INPUTS, LABEL_IDS, PAST
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.formats.precision import PRECISIONS
from edgecd.host.folders import new_folder
from edgecd.runtime.session import open_session
from edgecd.tasks.control import without_control

if TYPE_CHECKING:
    import onnx

    from edgecd.contexts.networks import Distiller, Gist, Hypernetwork, ReadingNetwork
    from edgecd.lm.models import LanguageModel

PROBE = (5, 7, 11, 13, 17, 19, 23, 29)


def export_compressor(
    run: Path,
    out: Path,
    config: ExportConfig | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Export a distiller with its frozen language model as a compressor; returns what was done.

    `config` None means full precision. Raises InputError for a run of another kind, a family
    without a fused graph, or two models that do not fit one ONNX file; CheckFailed when the
    graph's context is not PyTorch's on a probe.
    """
    name = (config or ExportConfig()).goal.precision
    treat, tolerance = RECIPES[name].compressor, PRECISIONS[name].context_tolerance
    if treat is None or tolerance is None:
        known = [one for one, recipe in RECIPES.items() if recipe.compressor is not None]
        raise InputError(f"a compressor is {' or '.join(known)}, not {name}")
    if config is not None and config.layout is not None:
        raise InputError(f"--for {config.layout} is for the run of an encoder: {run} compresses")
    need_export()
    import onnx
    import torch

    from edgecd.contexts.compress import past_of
    from edgecd.contexts.train import load_distiller

    started = time.perf_counter()
    trained = load_distiller(run, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        expected = past_of(trained.network.front(trained.lm, PROBE))
    reporter.say("writing the graph of the distiller and its language model")
    graph = treat(compressor_graph(trained.lm, trained.network))
    facts = CompressorFacts(
        method=trained.config.method,
        model=public(trained.lm.name),
        fingerprint=trained.model_fingerprint,
        positions=int(expected.shape[3]),
        max_context=trained.config.max_context,
        precision=name,
    )
    with new_folder(out, force, [run]) as part:
        onnx.save(graph, part / MODEL)
        write_text(part / TOKENIZER, without_control(trained.lm.text_tokenizer).to_str())
        feed = {INPUTS[0]: np.array([PROBE]), LABEL_IDS: np.array([3, 4])}
        found = open_session(part / MODEL).run([PAST], feed)[0]
        error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
        if not error <= tolerance:  # also true for NaN
            raise CheckFailed(
                f"the {name} graph's context is off by {error:.2g} of PyTorch's on a probe, "
                f"and {tolerance:g} is allowed"
            )
        hashes = {name: sha256_file(part / name) for name in (MODEL, TOKENIZER)}
        write_json(part / FACTS, facts_json(replace(facts, files=hashes)))
        size_bytes = sum(file.stat().st_size for file in part.iterdir())
    return {
        "compressor": str(out),
        "precision": facts.precision,
        "positions": facts.positions,
        "probe_error": error,
        "size_bytes": size_bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def compressor_graph(lm: LanguageModel, network: ReadingNetwork) -> onnx.ModelProto:
    """`input_ids` [1, sequence] and `label_ids` [labels] -> `past` and `head` (see `graph`).

    Raises InputError for two models that do not fit one ONNX file.
    """
    import torch

    frozen, reader = lm.model.base_model, network.reader
    adapted = reader.is_adapted
    body = reader.merged()
    size_bytes = 4 * sum(
        parameter.numel() for model in (body, lm.model) for parameter in model.parameters()
    )
    if size_bytes > PROTOBUF_LIMIT_BYTES:
        raise InputError(
            f"distiller and language model have {size_bytes / 1e9:.1f} GB of fp32 weights, and a "
            "self-contained ONNX file holds 2.1 GB at most: compress with PyTorch"
        )
    # An adapter works at the placeholders alone (see `networks.Reader.read_into`)
    reading = frozen if adapted else body
    with torch.no_grad():
        table = lm.model.get_output_embeddings().weight.float().numpy()
        return _joined(WRITERS[network.method](network, _stack(body), reading, frozen), table)


def _distiller_graphs(
    network: Distiller, body: Stack, reading: Any, frozen: Any
) -> list[onnx.ModelProto]:
    layer = network.projection
    project = None if layer is None else Linear(layer.weight.numpy().T, layer.bias.numpy())
    scale = (network.gain.numpy(), network.shift.numpy())
    reader = reader_graph(body, _placeholders(network), project, scale)
    return [reader, vectors_graph(_stack(frozen))]


def _hypernetwork_graphs(
    network: Hypernetwork, body: Stack, reading: Any, frozen: Any
) -> list[onnx.ModelProto]:
    reader = reader_graph(body, _placeholders(network), None, None)
    return [reader, prefix_graph(network.change.weight.numpy().T, network.base.numpy())]


def _gist_graphs(network: Gist, body: Stack, reading: Any, frozen: Any) -> list[onnx.ModelProto]:
    writer = gist_graph(body, _placeholders(network), network.start.numpy())
    return [tokens_graph(_stack(reading)), writer]


# Method -> the two graphs of its network, the second of which takes what the first gives. Each is
# made of the network, its reader's body as a Stack, the body that reads tokens, and the frozen one.
WRITERS: Mapping[str, Callable[[Any, Stack, Any, Any], list[onnx.ModelProto]]] = {
    "mend": _distiller_graphs,
    "hypertuning": _hypernetwork_graphs,
    "gist": _gist_graphs,
}


def _placeholders(network: ReadingNetwork) -> np.ndarray:
    """The reader's learned placeholders, float32 [positions, width]."""
    placeholders: np.ndarray = network.reader.placeholders.detach().float().numpy()
    return placeholders


def _stack(body: Any) -> Stack:
    """The description of a language model's body, with a head of nothing."""
    import torch

    from edgecd.lm.fold import classifier_of

    width = body.get_input_embeddings().weight.shape[1]
    return read_stack(classifier_of(body, torch.zeros(2, width), ("0", "1"), 0, "distiller"))


def _joined(graphs: Sequence[onnx.ModelProto], table: np.ndarray) -> onnx.ModelProto:
    """One graph of two, the second of which takes what the first gives, and of the head's table
    [vocabulary, width]."""
    import onnx

    parts = [
        onnx.compose.add_prefix(part, prefix, rename_inputs=False, rename_outputs=False)
        for part, prefix in zip(graphs, ("reader/", "writer/"), strict=True)
    ]
    helper, kind = onnx.helper, onnx.TensorProto
    graph = onnx.GraphProto(name="edgecd")
    graph.input.extend(parts[0].graph.input)
    graph.input.append(helper.make_tensor_value_info(LABEL_IDS, kind.INT64, ["labels"]))
    for part in parts:
        graph.node.extend(part.graph.node)
        graph.initializer.extend(part.graph.initializer)
    rows = onnx.numpy_helper.from_array(np.ascontiguousarray(table), "head/table")
    graph.initializer.append(rows)
    graph.node.append(
        helper.make_node("Gather", ["head/table", LABEL_IDS], ["head/rows"], "head/gather")
    )
    # what rounds the table replaces the rows, and cannot replace an output
    graph.node.append(helper.make_node("Identity", ["head/rows"], [HEAD], "head/output"))
    graph.output.extend(parts[-1].graph.output)
    shape = ["labels", table.shape[1]]
    graph.output.append(helper.make_tensor_value_info(HEAD, kind.FLOAT, shape))
    return helper.make_model(
        graph,
        opset_imports=graphs[0].opset_import,
        ir_version=IR_VERSION,
        producer_name="edgecd",
    )
