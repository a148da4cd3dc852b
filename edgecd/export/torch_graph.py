"""Traces a decoder classifier with `torch.onnx.export`, for families without a fused graph.

Slower to export and to run than a fused graph, and the same graph contract: `input_ids` and
`attention_mask`, int64 [batch, sequence], right padded; `logits`, float32 [batch, labels].
"""

from __future__ import annotations

import ast
import copy
import warnings
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError
from edgecd.export.graph import refuse_too_large
from edgecd.formats.contract import INPUTS, LOGITS

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

OPSET = 18  # with 23, PyTorch writes a RotaryEmbedding that onnxruntime runs for one row only


def traced_graph(model: PreTrainedModel) -> onnx.ModelProto:
    """The fp32 graph of any decoder `*ForSequenceClassification` with a `score` layer.

    Raises InputError when the model has no such layer, when PyTorch cannot trace it, or when its
    weights do not fit a single ONNX file.
    """
    import onnx_ir as ir
    import torch
    from onnx_ir.passes import common

    if not isinstance(getattr(model, "score", None), torch.nn.Module):
        raise InputError(
            f"{type(model).__name__} has no 'score' layer: a decoder "
            "*ForSequenceClassification model is needed"
        )
    refuse_too_large(model)
    # Sizes 0 and 1 would be taken for constants, equal sizes for the same dimension.
    example = {name: torch.ones(2, 7, dtype=torch.int64) for name in INPUTS}
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside PyTorch's own exporter
            program = torch.onnx.export(
                _classifier(model),
                tuple(example.values()),  # two tensors: one passed twice becomes one input
                input_names=INPUTS,
                output_names=[LOGITS],
                dynamic_shapes=(sizes, sizes),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as failed:
        reason = str(failed).strip().splitlines()[0]
        raise InputError(f"PyTorch cannot trace {type(model).__name__}: {reason}") from failed
    assert program is not None  # `dynamo=True` always returns one
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


def _classifier(model: PreTrainedModel) -> Any:
    """The model as a module of two tensors, in fp32, with the last token found by the mask."""
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = model
            if model.training or any(x.dtype != torch.float32 for x in model.parameters()):
                whole = copy.deepcopy(model).float()
            self.body = getattr(whole, whole.base_model_prefix)
            self.score = whole.score

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.body(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state
            last = attention_mask.sum(dim=1) - 1
            rows = torch.arange(input_ids.shape[0], device=input_ids.device)
            return self.score(states[rows, last])

    return Classifier().eval()
