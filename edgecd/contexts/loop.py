"""The training loop over episodes: stages, resumable, deterministic for a seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgecd.contexts.loss import Episode, LossWeights, episode_loss
from edgecd.lm.models import LanguageModel
from edgecd.training.loop import set_rate
from edgecd.training.state import Reached, restore_state, save_state, saved_step
from edgecd.training.student import trainable_state

MONITORED = 20  # times in a stage, at most
MONITOR_EVERY = 25  # steps, at least: a look at the monitored episodes costs as much as a few
SAVE_EVERY_S = 30.0
SAVING_SHARE = 0.05  # at most, of the time: a whole model's state is gigabytes


@dataclass(frozen=True)
class Stage:
    """One stage of a training: which episodes, and how to learn from them.

    `monitor` are episodes that are not trained on, whose loss is the learning curve.
    """

    name: str
    episodes: Callable[[int], Episode]
    weights: LossWeights
    steps: int
    lr: float
    batch_size: int
    monitor: Sequence[Episode] = ()


def fit_network(
    network: Any,
    lm: LanguageModel,
    stage: Stage,
    seed: int,
    autocast: bool,
    folder: Path,
    log: Callable[[dict[str, Any]], None],
    progress: Callable[[int, int], None],
) -> None:
    """Train the network's parameters that require gradients.

    State is kept in `folder`, so that a call which finds some goes on to the same result.
    """
    lm.model.requires_grad_(False)
    parameters = trainable_state(network)
    optimizer = torch.optim.AdamW(parameters.values(), lr=stage.lr, weight_decay=0.0)
    start = saved_step(folder)
    if start:
        restore_state(network, optimizer, folder, start)
    network.train()
    folder.mkdir(parents=True, exist_ok=True)
    saved, saving_s = time.monotonic(), 0.0
    for step in range(start, stage.steps):
        set_rate(optimizer, stage.lr, step, stage.steps)
        # Dropout depends on seed and step alone, so a resumed run draws the same masks.
        torch.manual_seed(seed * 1_000_003 + step)
        line: dict[str, Any] = {"stage": stage.name, "step": step + 1, "loss": 0.0}
        for place in range(stage.batch_size):
            episode = stage.episodes(step * stage.batch_size + place)
            terms = _accumulate(network, lm, episode, stage, autocast)
            for name, value in terms.items():
                line[name] = line.get(name, 0.0) + value / stage.batch_size
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        every = max(MONITOR_EVERY, stage.steps // MONITORED)
        if (step + 1) % every == 0 or step + 1 == stage.steps:
            line |= monitor_loss(network, lm, stage)
        log(line)
        if time.monotonic() - saved > max(SAVE_EVERY_S, saving_s / SAVING_SHARE):
            began = time.monotonic()
            save_state(parameters, optimizer, folder, Reached(step + 1))
            saved, saving_s = time.monotonic(), time.monotonic() - began
        progress(step + 1, stage.steps)
    save_state(parameters, optimizer, folder, Reached(stage.steps))
    network.eval()


@torch.no_grad()
def monitor_loss(network: Any, lm: LanguageModel, stage: Stage) -> dict[str, float]:
    """The mean terms of the loss over the stage's monitored episodes."""
    sums: dict[str, float] = {}
    network.eval()
    for episode in stage.monitor:
        front = network.front(lm, episode.context)
        _, terms = episode_loss(lm, front, episode, stage.weights)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value / len(stage.monitor)
    network.train()
    return {f"monitor_{name}": value for name, value in sums.items()}


def _accumulate(
    network: Any, lm: LanguageModel, episode: Episode, stage: Stage, autocast: bool
) -> dict[str, float]:
    """Add an episode's share of the gradient; returns its terms."""
    device = lm.model.device.type
    with torch.autocast(device, torch.bfloat16) if autocast else nullcontext():
        front = network.front(lm, episode.context)
        loss, terms = episode_loss(lm, front, episode, stage.weights)
    (loss / stage.batch_size).backward()  # type: ignore[no-untyped-call]
    return {"loss": float(loss.detach()), **terms}
