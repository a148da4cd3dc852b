"""The state of a training on disk: what trains, and Adam's moments, by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from edgecd.files import read_json, write_json
from edgecd.training.student import load_trainable, trainable_state


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors, atomically."""
    part = path.with_name(f".{path.name}.part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def save_state(
    parameters: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    folder: Path,
    state: Mapping[str, Any],
) -> None:
    """Write parameters and Adam's moments under the step's own name, then point to them."""
    tensors = {f"parameter/{name}": value for name, value in parameters.items()}
    for name, value in parameters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            if value in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[value][moment]
    name = f"step-{state['step']}.safetensors"
    save_tensors(tensors, folder / name)
    write_json(folder / "state.json", state)
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def saved_step(folder: Path) -> int:
    """The last step that is kept there; 0 when none is."""
    path = folder / "state.json"
    return int(read_json(path)["step"]) if path.exists() else 0


def restore_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path, step: int
) -> None:
    """Put back what `save_state` wrote at that step."""
    tensors = load_file(folder / f"step-{step}.safetensors")
    parameters = trainable_state(model)
    load_trainable(model, {name: tensors[f"parameter/{name}"] for name in parameters})
    for name, value in parameters.items():
        if f"exp_avg/{name}" in tensors:
            optimizer.state[value] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(value.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(value.device),
            }
