"""Traces a classifier with `torch.onnx.export`, for families without a fused graph.

Slower to export and to run than a fused graph, and the same graph contract: `input_ids` and
`attention_mask`, int64 [batch, sequence], right padded, and `token_type_ids` of an encoder that
tells texts apart; `logits`, float32 [batch, labels].
"""

from __future__ import annotations

import ast
import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.errors import InputError
from edgecd.export.graph import refuse_too_large
from edgecd.formats.contract import INPUTS, LOGITS, SEGMENTS

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

OPSET = 18  # with 23, PyTorch writes a RotaryEmbedding that onnxruntime runs for one row only


def traced_graph(model: PreTrainedModel) -> onnx.ModelProto:
    """The fp32 graph of a `*ForSequenceClassification`: an encoder, or a decoder with a `score`.

    Raises InputError when the model is neither, when PyTorch cannot trace it, or when its weights
    do not fit a single ONNX file.
    """
    import onnx_ir as ir
    import torch
    from onnx_ir.passes import common

    from edgecd.formats.kinds import is_encoder
    from edgecd.lm.encoders import takes_types

    encoder = is_encoder(model.config)
    if not encoder and not isinstance(getattr(model, "score", None), torch.nn.Module):
        raise InputError(
            f"{type(model).__name__} is no encoder that is known here, and has no 'score' layer: a "
            "decoder *ForSequenceClassification model is needed"
        )
    refuse_too_large(model)
    names = (*INPUTS, SEGMENTS) if takes_types(model.config) else INPUTS
    # Sizes 0 and 1 would be taken for constants, equal sizes for the same dimension.
    example = {name: torch.ones(2, 7, dtype=torch.int64) for name in names}
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside PyTorch's own exporter
            program = torch.onnx.export(
                _encoder(model) if encoder else _decoder(model),
                tuple(example.values()),  # a tensor each: one passed twice becomes one input
                input_names=names,
                output_names=[LOGITS],
                dynamic_shapes=(sizes,) * len(names),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as failed:
        reason = str(failed).strip().splitlines()[0]
        raise InputError(f"PyTorch cannot trace {type(model).__name__}: {reason}") from failed
    assert program is not None  # `dynamo=True` always returns one
    _fold_products(program.model)
    _name_weights(program.model)
    # The tracer's notes hold paths of the machine that exported.
    common.ClearMetadataAndDocStringPass()(program.model)
    return ir.to_proto(program.model)


def _name_weights(traced: ir.Model) -> None:
    """Name each linear weight after its module, where the folding of transposes lost the name."""
    for node in traced.graph:
        if node.op_type not in ("MatMul", "Gemm") or not node.inputs[1].is_initializer():
            continue
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        name = f"{scopes[-2]}.weight" if len(scopes) > 1 else ""
        if scopes and name not in traced.graph.initializers:
            traced.graph.initializers.pop(node.inputs[1].name)
            node.inputs[1].name = name
            traced.graph.initializers.add(node.inputs[1])


def _fold_products(traced: ir.Model) -> None:
    """Compute, in place, what linear layers make of constants: DeBERTa's relative positions.

    Else each such layer would be rounded, and its weight stored a second time.
    """
    import onnx_ir as ir
    import onnxruntime
    from onnx_ir.passes import common

    graph = traced.graph
    fixed = set(graph.initializers.values())
    products: set[ir.Value | None] = set()
    for node in graph:
        if any(value is not None and value not in fixed for value in node.inputs):
            continue
        if node.op_type == "Constant" or any(value is not None for value in node.inputs):
            fixed.update(node.outputs)
        if node.op_type in ("MatMul", "Gemm") or products.intersection(node.inputs):
            products.update(node.outputs)
    taken = [
        value
        for value in products
        if value is not None and any(use.node.outputs[0] not in fixed for use in value.uses())
    ]
    if not taken:
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    before = list(graph.outputs)
    graph.outputs[:] = taken
    whole = ir.to_proto(traced).SerializeToString()
    graph.outputs[:] = before
    session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    feed = {one.name: np.ones((1, 1), np.int64) for one in session.get_inputs()}
    for value, array in zip(taken, session.run(None, feed), strict=True):
        folded = ir.val(f"{value.name}.folded", const_value=ir.tensor(array))
        graph.register_initializer(folded)
        ir.convenience.replace_all_uses_with(value, folded)
    common.RemoveUnusedNodesPass()(traced)


def _encoder(model: PreTrainedModel) -> Any:
    """The model as a module of its inputs as tensors, in fp32."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _exact(model)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            types = {} if token_type_ids is None else {SEGMENTS: token_type_ids}
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits

    return Encoder().eval()


def _exact(model: PreTrainedModel) -> Any:
    """The model in fp32; a copy where it is not so, or trains."""
    import torch

    if model.training or any(x.dtype != torch.float32 for x in model.parameters()):
        return copy.deepcopy(model).float()
    return model


def _decoder(model: PreTrainedModel) -> Any:
    """The model as a module of two tensors, in fp32, with the last token found by the mask."""
    import torch

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = _exact(model)
            self.body = getattr(whole, whole.base_model_prefix)
            self.score = whole.score

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.body(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state
            last = attention_mask.sum(dim=1) - 1
            rows = torch.arange(input_ids.shape[0], device=input_ids.device)
            return self.score(states[rows, last])

    return Decoder().eval()
