"""The merged checkpoint, as the peers' converters take it. Nothing heavy is imported before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load_classifier(checkpoint: Path) -> Any:
    """The checkpoint as PyTorch runs it, in fp32."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    return model.eval()


def traced_file(checkpoint: Path, work: Path) -> Path:
    """The fp32 graph that `torch.onnx.export` gives, made once for all that start from it."""
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


def for_transformers_4(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint with `rope_theta` where transformers before 5 looks for it.

    Version 5 writes it inside `rope_parameters`, which version 4 passes over for its default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    inner = config.get("rope_parameters") or {}
    if "rope_theta" in inner:
        config.setdefault("rope_theta", inner["rope_theta"])
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for weights in checkpoint.glob("*.safetensors*"):
        (folder / weights.name).unlink(missing_ok=True)
        (folder / weights.name).symlink_to(weights.resolve())
    return folder
