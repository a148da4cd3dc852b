"""The state of a training on disk: what trains, and Adam's moments, by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edgecd.errors import InputError
from edgecd.files import read_json, write_json
from edgecd.formats.record import LeftOut, from_json, to_json
from edgecd.training.student import load_trainable, trainable_state

STATE = "state.json"


@dataclass(frozen=True)
class Reached:
    """How far a training is: the last step, and of its monitor the best one and its value.

    `bad` counts the evaluations since the best one.
    """

    step: int = 0
    best_step: LeftOut[int] = 0
    best: LeftOut[float] = 1e30
    bad: LeftOut[int] = 0


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write named tensors to a safetensors file, atomically, from whatever device they are on."""
    part = path.with_name(f".{path.name}.part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors that `save_tensors` wrote; InputError for a file that is damaged or missing."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, FileNotFoundError) as bad:
        raise InputError(
            f"{path} is damaged or missing ({bad}): delete the folder {path.parent} and train "
            "again with --resume; the teacher's scores are kept"
        ) from None
    return tensors


def save_state(
    parameters: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    folder: Path,
    reached: Reached,
) -> None:
    """Write parameters and Adam's moments under the step's own name, then point to them.

    Older steps go.
    """
    tensors = {f"parameter/{name}": value for name, value in parameters.items()}
    for name, value in parameters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            if value in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[value][moment]
    name = f"step-{reached.step}.safetensors"
    save_tensors(tensors, folder / name)
    write_json(folder / STATE, to_json(reached))
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_state(folder: Path) -> Reached:
    """What is kept there; the very beginning when nothing is. InputError for something else."""
    path = folder / STATE
    return from_json(Reached, read_json(path), str(path)) if path.exists() else Reached()


def saved_step(folder: Path) -> int:
    """The last step that is kept there; 0 when none is."""
    return read_state(folder).step


def restore_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path, step: int
) -> None:
    """Put back the parameters and moments that `save_state` wrote at that step."""
    tensors = load_tensors(folder / f"step-{step}.safetensors")
    parameters = trainable_state(model)
    load_trainable(model, {name: tensors[f"parameter/{name}"] for name in parameters})
    for name, value in parameters.items():
        if f"exp_avg/{name}" in tensors:
            optimizer.state[value] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(value.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(value.device),
            }
