"""The merged checkpoint, as the peers' converters take it. Nothing heavy is imported before use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgecd.files import read_json
from edgecd.formats.contract import SEGMENTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgecd.tasks.encoding import Encoded

# One input as tokens -> its logits, float32 [labels].
Logits = Callable[["Encoded"], NDArray[np.float32]]


def model_type(checkpoint: Path) -> str:
    """The family, as config.json names it."""
    return str(read_json(checkpoint / "config.json").get("model_type"))


def load_classifier(
    checkpoint: Path, dtype: Literal["float32", "bfloat16"] = "float32"
) -> PreTrainedModel:
    """The checkpoint as PyTorch runs it."""
    from edgecd.lm.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint, dtype)


def traced_file(checkpoint: Path, work: Path) -> Path:
    """The fp32 graph that `torch.onnx.export` gives, made once in `work` for all that start so."""
    import onnx

    from edgecd.export.torch_graph import traced_graph

    path = work / "traced" / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        graph = traced_graph(load_classifier(checkpoint))
        # PyTorch's notes of shapes contradict its last layer, which stops onnxruntime's quantizer.
        del graph.graph.value_info[:]
        onnx.save(graph, part)
        part.replace(path)
    return path


def batch_of_one(one: Encoded, names: Collection[str]) -> dict[str, NDArray[np.int64]]:
    """An input as a graph takes it, int64 [1, tokens] each; `names` are the graph's inputs."""
    tokens = np.array([one.ids], np.int64)
    batch = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    if SEGMENTS in names:
        batch[SEGMENTS] = np.array([one.type_ids or [0] * len(one.ids)], np.int64)
    return batch
