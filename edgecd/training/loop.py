"""The training loop: examples in label space, resumable, deterministic for a seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.formats.record import LeftOut, to_json
from edgecd.lm.rows import classifier_inputs, classifier_logits
from edgecd.tasks.encoding import Encoded
from edgecd.training.state import (
    Reached,
    load_tensors,
    read_state,
    restore_state,
    save_state,
    save_tensors,
)
from edgecd.training.student import load_trainable, trainable_state

WARM_UP = 0.06
SAVE_EVERY_S = 30.0
BEST = "best.safetensors"
# Activations of so many tokens are held at a time; processors gain nothing from more.
PART_TOKENS = {"cpu": 256, "cuda": 8192}


@dataclass(frozen=True)
class Item:
    """One training example: its input, the teacher's label log-probabilities, the true label."""

    input: Encoded
    target: Sequence[float] | None
    label: int | None


@dataclass(frozen=True)
class Schedule:
    """How to train: everything that the loop needs besides model and examples."""

    epochs: float
    lr: float
    batch_size: int
    alpha: float
    temperature: float
    patience: int | None
    seed: int
    autocast: bool = False
    label_tokens: tuple[int, ...] = ()  # given, the model is a language model, head and all


@dataclass(frozen=True)
class Outcome:
    """What training came to: optimizer steps done, and the one whose parameters were kept."""

    steps: int
    best_step: int


@dataclass(frozen=True)
class StepLine:
    """A line of the run's log: a step's loss, and what an evaluation after it found, in nats."""

    step: int
    loss: float
    monitor_kl: LeftOut[float | None] = None


def distillation_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    has_target: torch.Tensor,
    label: torch.Tensor,
    alpha: float,
    temperature: float,
    batch_size: int,
) -> torch.Tensor:
    """alpha T^2 KL(teacher || student) + (1 - alpha) CE, in label space (arXiv 2412.13243).

    logits, target [rows, labels]; `has_target` [rows] says where the teacher spoke; `label`
    [rows] is -1 where unknown. Each term is a sum over the rows divided by `batch_size`: the rows
    may be a part of a batch, and an example counts the same whatever company it is in.
    """
    student = torch.log_softmax(logits.float() / temperature, dim=-1)
    teacher = torch.softmax(target / temperature, dim=-1)
    divergence = (teacher * (torch.log(teacher.clamp_min(1e-12)) - student)).sum(-1)
    kl = (divergence * has_target).sum() / batch_size
    ce = (
        torch.nn.functional.cross_entropy(logits.float(), label, ignore_index=-1, reduction="sum")
        / batch_size
    )
    return alpha * temperature**2 * kl + (1 - alpha) * ce


def vocabulary_loss(logits: torch.Tensor, mask: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the whole vocabulary at the last real token (arXiv 2305.16938).

    logits [batch, length, vocabulary]; mask [batch, length], right padded; token [batch]: the
    label words' tokens.
    """
    last = mask.sum(dim=1) - 1
    rows = logits[torch.arange(len(logits), device=logits.device), last]
    return torch.nn.functional.cross_entropy(rows.float(), token)


def fit(
    model: Any,
    items: Sequence[Item],
    monitor: Sequence[Item],
    schedule: Schedule,
    folder: Path,
    log: Callable[[dict[str, Any]], None],
    progress: Callable[[int, int], None],
) -> Outcome:
    """Train the parameters that require gradients; leaves the best ones in the model.

    Evaluates four times an epoch on `monitor` (examples with teacher targets that are not
    trained on; no labels needed) and stops after `patience` evaluations without a lower
    divergence; without either it runs to the end and keeps the last parameters. State is saved in
    `folder` every half minute and at each evaluation; a call that finds it goes on from there, to
    the same result.
    """
    per_epoch = math.ceil(len(items) / schedule.batch_size)
    total = max(1, math.ceil(per_epoch * schedule.epochs))
    evaluate_every = max(1, math.ceil(per_epoch / 4))
    parameters = trainable_state(model)
    optimizer = torch.optim.AdamW(parameters.values(), lr=schedule.lr, weight_decay=0.0)
    reached = read_state(folder)
    if reached.step:
        restore_state(model, optimizer, folder, reached.step)
    model.train()
    saved = time.monotonic()
    stops = schedule.patience is not None and bool(monitor)
    stopped = _impatient(reached, schedule)
    for step, batch in _batches(items, schedule, total, start=reached.step):
        if stopped:
            break
        loss = _step(model, optimizer, batch, schedule, step, total)
        reached = replace(reached, step=step + 1)
        line = StepLine(step + 1, loss)
        if monitor and ((step + 1) % evaluate_every == 0 or step + 1 == total):
            logits = classifier_logits(model, [item.input for item in monitor])
            value = divergence(logits, [item.target or () for item in monitor])
            line = replace(line, monitor_kl=value)
            if value < reached.best:
                reached = Reached(step + 1, step + 1, value)
                if stops:
                    save_tensors(parameters, folder / BEST)
            else:
                reached = replace(reached, bad=reached.bad + 1)
            stopped = _impatient(reached, schedule)
            saved = -math.inf
        log(to_json(line))
        if time.monotonic() - saved > SAVE_EVERY_S:
            save_state(parameters, optimizer, folder, reached)
            saved = time.monotonic()
        progress(step + 1, total)
    save_state(parameters, optimizer, folder, reached)
    if stops and (folder / BEST).exists():
        load_trainable(model, load_tensors(folder / BEST))
    model.eval()
    return Outcome(reached.step, reached.best_step if stops else reached.step)


def fit_temperature(logits: NDArray[np.float32], targets: Sequence[Sequence[float]]) -> float:
    """The temperature at which a student's probabilities are nearest to its teacher's.

    Logits and log-probabilities [examples, labels]; the divergence is convex in 1 / T (arXiv
    1706.04599, with the teacher's probabilities in place of labels), so no label is needed.
    """
    power = torch.zeros((), dtype=torch.float64, requires_grad=True)
    student = torch.from_numpy(logits).double()
    teacher = torch.tensor([list(row) for row in targets], dtype=torch.float64)
    optimizer = torch.optim.LBFGS([power], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = torch.log_softmax(student * power.exp(), -1)
        divergence = torch.nn.functional.kl_div(
            scaled, teacher, reduction="batchmean", log_target=True
        )
        divergence.backward()  # type: ignore[no-untyped-call]
        return divergence

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return math.exp(-float(power.detach().clamp(-3, 3)))


def _impatient(reached: Reached, schedule: Schedule) -> bool:
    return schedule.patience is not None and reached.bad >= schedule.patience


def divergence(logits: NDArray[np.float32], targets: Sequence[Sequence[float]]) -> float:
    """Mean KL(teacher || student) in nats: logits and log-probabilities, [examples, labels]."""
    everywhere = torch.ones(len(logits))
    nowhere = torch.full((len(logits),), -1)
    target = torch.tensor([list(row) for row in targets])
    student = torch.from_numpy(logits)
    return float(distillation_loss(student, target, everywhere, nowhere, 1.0, 1.0, len(logits)))


def set_rate(optimizer: torch.optim.Optimizer, lr: float, step: int, total: int) -> None:
    """The learning rate of a step: a short rise to `lr`, then down to nothing in a line."""
    warm = max(1, round(total * WARM_UP))
    factor = min((step + 1) / warm, (total - step) / max(1, total - warm))
    for group in optimizer.param_groups:
        group["lr"] = lr * factor


def _step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Item],
    schedule: Schedule,
    step: int,
    total: int,
) -> float:
    set_rate(optimizer, schedule.lr, step, total)
    # Dropout depends on seed and step alone, so a resumed run draws the same masks.
    torch.manual_seed(schedule.seed * 1_000_003 + step)
    total_loss = 0.0
    # PBFT over the vocabulary is here as others do it: whole batches
    parts = [batch] if schedule.label_tokens else _parts(batch, PART_TOKENS[_device(model).type])
    for rows in parts:
        loss = _loss(model, rows, schedule, len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        total_loss += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total_loss


def _parts(batch: Sequence[Item], tokens: int) -> Iterator[Sequence[Item]]:
    """Cut a batch so that no part has more than `tokens`, padding included.

    Gradients add up to the same; the longest inputs do not set the peak memory of the run.
    """
    width = max(len(item.input.ids) for item in batch)
    rows = max(1, tokens // width)
    for start in range(0, len(batch), rows):
        yield batch[start : start + rows]


def _loss(model: Any, rows: Sequence[Item], schedule: Schedule, batch_size: int) -> torch.Tensor:
    device = _device(model)
    inputs = classifier_inputs(model, [item.input for item in rows])
    wide = torch.autocast(device.type, torch.bfloat16) if schedule.autocast else nullcontext()
    with wide:
        logits = model(**inputs).logits
    if schedule.label_tokens:
        tokens = [schedule.label_tokens[item.label] for item in rows if item.label is not None]
        return vocabulary_loss(
            logits, inputs["attention_mask"], torch.tensor(tokens, device=device)
        )
    nothing = [0.0] * model.config.num_labels
    target = torch.tensor([list(item.target or nothing) for item in rows], device=device)
    has_target = torch.tensor([float(item.target is not None) for item in rows], device=device)
    label = torch.tensor([-1 if item.label is None else item.label for item in rows], device=device)
    return distillation_loss(
        logits,
        target,
        has_target,
        label,
        schedule.alpha,
        schedule.temperature,
        batch_size,
    )


def _batches(
    items: Sequence[Item], schedule: Schedule, total: int, start: int
) -> Iterator[tuple[int, list[Item]]]:
    """(step, batch) from `start` on; batches of similar length, a function of seed and epoch."""
    step = 0
    epoch = 0
    size = schedule.batch_size
    while step < total:
        chance = np.random.default_rng([schedule.seed, epoch])
        order = chance.permutation(len(items))
        # Sort within windows, not over all: batches keep mixing from epoch to epoch.
        batches: list[list[int]] = []
        for window in range(0, len(order), 16 * size):
            near = sorted(order[window : window + 16 * size], key=lambda i: len(items[i].input.ids))
            batches += [near[begin : begin + size] for begin in range(0, len(near), size)]
        for number in chance.permutation(len(batches)):
            if step >= total:
                return
            if step >= start:
                yield step, [items[place] for place in batches[number]]
            step += 1
        epoch += 1


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device
