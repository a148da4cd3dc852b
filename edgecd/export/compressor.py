"""From a distiller's run to a compressor folder: one graph from demonstrations to a context."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.errors import CheckFailed, InputError, require
from edgecd.export.context_graphs import (
    gist_graph,
    prefix_graph,
    reader_graph,
    tokens_graph,
    vectors_graph,
)
from edgecd.export.graph import PROTOBUF_LIMIT_BYTES
from edgecd.export.quantize import Treatment, quantize
from edgecd.export.stack import Linear, Stack, read_stack
from edgecd.export.tape import IR_VERSION
from edgecd.files import new_folder, public, sha256_file, write_json, write_text
from edgecd.formats.compressor import FACTS, CompressorFacts, facts_json
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.runtime.compressor import LABEL_IDS
from edgecd.runtime.session import HEAD, PAST, open_session

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "int8")
PROBE = (5, 7, 11, 13, 17, 19, 23, 29)
# Root mean squares, of the error against keys and values.
TOLERANCES = {"fp32": 1e-5, "int8": 0.1}
_WEIGHTS_ONLY = Treatment("weights", "8-bit weights, inputs as they are", weights_only=True)


def export_compressor(
    run: Path,
    out: Path,
    precision: str = "fp32",
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Export a distiller with its frozen language model as a compressor; returns what was done.

    Raises InputError for a run of another kind, a family without a fused graph, or two models that
    do not fit one ONNX file; CheckFailed when the graph's context is not PyTorch's on a probe.
    """
    if precision not in PRECISIONS:
        raise InputError(f"a compressor is {' or '.join(PRECISIONS)}, not {precision}")
    for module, extra in (("onnx", "export"), ("onnx_ir", "export"), ("onnxruntime", "cpu")):
        require(module, extra)
    import onnx
    import torch

    from edgecd.contexts.compress import past_of
    from edgecd.contexts.train import load_distiller

    started = time.perf_counter()
    trained = load_distiller(run, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        expected = past_of(trained.network.front(trained.lm, PROBE))
    report("writing the graph of the distiller and its language model")
    graph = compressor_graph(trained.lm, trained.network)
    if precision == "int8":
        graph = quantize(graph, _WEIGHTS_ONLY)
    facts = CompressorFacts(
        method=trained.run["method"],
        model=public(trained.lm.name),
        fingerprint=trained.run["language_model"]["fingerprint"],
        positions=int(expected.shape[3]),
        max_context=int(trained.run["max_context"]),
        precision=precision,
    )
    with new_folder(out, force) as part:
        onnx.save(graph, part / MODEL)
        write_text(part / TOKENIZER, trained.lm.text_tokenizer.to_str())
        feed = {"input_ids": np.array([PROBE]), LABEL_IDS: np.array([3, 4])}
        found = open_session(part / MODEL).run([PAST], feed)[0]
        error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
        if not error <= TOLERANCES[precision]:  # also true for NaN
            raise CheckFailed(
                f"the {precision} graph's context is off by {error:.2g} of PyTorch's on a probe, "
                f"and {TOLERANCES[precision]:g} is allowed"
            )
        hashes = {name: sha256_file(part / name) for name in (MODEL, TOKENIZER)}
        write_json(part / FACTS, facts_json(replace(facts, files=hashes)))
        size_bytes = sum(file.stat().st_size for file in part.iterdir())
    return {
        "compressor": str(out),
        "precision": precision,
        "positions": facts.positions,
        "probe_error": error,
        "size_bytes": size_bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def compressor_graph(lm: Any, network: Any) -> onnx.ModelProto:
    """`input_ids` [1, sequence] and `label_ids` [labels] -> `past` and `head` (see `graph`)."""
    import torch

    frozen = lm.model.base_model
    body = network.reader.body
    adapted = hasattr(body, "merge_and_unload")
    if adapted:
        body = body.merge_and_unload()
    size_bytes = 4 * sum(
        parameter.numel() for model in (body, lm.model) for parameter in model.parameters()
    )
    if size_bytes > PROTOBUF_LIMIT_BYTES:
        raise InputError(
            f"distiller and language model have {size_bytes / 1e9:.1f} GB of fp32 weights, and a "
            "self-contained ONNX file holds 2.1 GB at most: compress with PyTorch"
        )
    placeholders = network.reader.placeholders.detach().float().numpy()
    with torch.no_grad():
        table = lm.model.get_output_embeddings().weight.float().numpy()
        if hasattr(network, "start"):
            # an adapter works at the placeholders alone (see `networks.Reader.read_into`)
            reader = tokens_graph(_stack(frozen if adapted else body))
            writer = gist_graph(_stack(body), placeholders, network.start.numpy())
            return _joined([reader, writer], table)
        project: Linear | None = None
        scale: tuple[np.ndarray, np.ndarray] | None = None
        if hasattr(network, "change"):
            writer = prefix_graph(network.change.weight.numpy().T, network.base.numpy())
        else:
            scale = (network.gain.numpy(), network.shift.numpy())
            if isinstance(network.project, torch.nn.Sequential):
                first: Any = network.project[0]
                project = Linear(first.weight.numpy().T, first.bias.numpy())
            writer = vectors_graph(_stack(frozen))
        reader = reader_graph(_stack(body), placeholders, project, scale)
    return _joined([reader, writer], table)


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
