"""PyTorch's modules as plain arrays: linear layers, norms, tensors, of whatever family."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecd.errors import InputError
from edgecd.export.stack import Array, Linear, Norm


def read_linear(layer: Any) -> Linear:
    """A linear layer's weights; InputError for one that an adapter or a quantizer has wrapped."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if not isinstance(layer, torch.nn.Linear | Conv1D) or not layer.weight.is_floating_point():
        raise InputError(
            f"the model has a {type(layer).__name__} in place of a plain linear layer: merge the "
            "adapter (or load the model unquantized) before exporting"
        )
    weight = read_array(layer.weight)
    return Linear(
        weight if isinstance(layer, Conv1D) else weight.T,
        None if layer.bias is None else read_array(layer.bias),
    )


def read_norm(norm: Any) -> Norm:
    """A LayerNorm's or RMSNorm's weights."""
    import torch

    if not isinstance(norm, torch.nn.LayerNorm):
        # Gemma's weights are distances from 1.
        plus = np.float32("Gemma" in type(norm).__name__)
        epsilon = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        return Norm(read_array(norm.weight) + plus, epsilon)
    if norm.weight is None:
        size = norm.normalized_shape
        return Norm(np.ones(size, np.float32), norm.eps, np.zeros(size, np.float32), True)
    shift = np.zeros_like(read_array(norm.weight)) if norm.bias is None else read_array(norm.bias)
    return Norm(read_array(norm.weight), norm.eps, shift, True)


def read_array(tensor: Any) -> Array:
    """A tensor in fp32, which shares its memory where it can."""
    import torch

    array: Array = tensor.detach().to("cpu", torch.float32).numpy()
    return array
