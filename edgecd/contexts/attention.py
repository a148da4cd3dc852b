"""`edgecd inspect RUN --attention`: what a distiller's vectors look at (2403.06914, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from edgecd.contexts.networks import Gist
from edgecd.contexts.train import load_distiller
from edgecd.files import public, write_json
from edgecd.formats.record import to_json
from edgecd.plotting.style import figure, plain, save
from edgecd.tasks.demonstrations import draw_demonstrations
from edgecd.tasks.encoding import token_ids
from edgecd.tasks.prompts import SEPARATOR
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Task

TOKENS_SHOWN = 12


@dataclass(frozen=True)
class Seen:
    """Attention of a distiller's vectors over the tokens of the demonstrations that it reads.

    `weights` are float32 [vectors, tokens], the mean over layers and heads. `ends` holds the place
    after each demonstration's last token.
    """

    tokens: list[str]
    ends: list[int]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class AttendedToken:
    """A token of the demonstrations, and the mean over the vectors of what goes to it."""

    token: str
    weight: float


@dataclass(frozen=True)
class AttentionReport:
    """What is told of a run's attention: the JSON beside the figure.

    Shares are of the attention that goes to the demonstrations; those by demonstration leave the
    first token out.
    """

    run: str
    task: str
    positions: int
    tokens: int
    first_token_share: float
    share_by_demonstration: tuple[float, ...]
    most_attended: tuple[AttendedToken, ...]
    figure: str


def attend(run: Path, task: Task, shots: int, seed: int) -> Seen:
    """What the vectors of a run's distiller look at in `shots` demonstrations of a task.

    The demonstrations are those that a distillation with this seed draws. Raises InputError for a
    folder that is no distiller's run, and for a task with too few labelled examples.
    """
    trained = load_distiller(run, torch.device("cpu"), torch.float32)
    tokenizer, reader = trained.lm.text_tokenizer, trained.network.reader
    chosen = draw_demonstrations(read_split(task, "train").examples, task.labels, shots, seed)
    ids = chosen.ids(tokenizer, task.template, trained.config.max_context)
    body = reader.body
    body.set_attn_implementation("eager")  # the only one that tells its weights
    with torch.no_grad():
        if isinstance(trained.network, Gist):
            found = reader.read_into(DynamicCache(), ids, 1, output_attentions=True)
        else:
            embedded = reader.embedded(ids)
            found = body(inputs_embeds=embedded, output_attentions=True, use_cache=False)
    layers = torch.stack([layer[0].mean(0) for layer in found.attentions])
    weights = layers.mean(0)[-len(reader.placeholders) :, : len(ids)]
    return Seen(
        [tokenizer.decode([token], skip_special_tokens=False) for token in ids],
        _ends(tokenizer, chosen.texts(task.template), len(ids)),
        weights.numpy(),
    )


def show_attention(run: Path, task: Task, out: Path, shots: int, seed: int) -> dict[str, Any]:
    """Draw what `attend` sees into OUT.png and OUT.svg; returns what OUT.json holds.

    Raises InputError as `attend` does.
    """
    seen = attend(run, task, shots, seed)
    drawn, panels = figure(7.2, 5.2, rows=2)
    scale = float(np.quantile(seen.weights[:, 1:], 0.995)) if seen.weights.shape[1] > 1 else None
    panels[0].imshow(seen.weights, aspect="auto", cmap="magma", vmin=0, vmax=scale)
    panels[0].grid(visible=False)
    for end in seen.ends[:-1]:  # at the top alone: a whole line would hide the labels' tokens
        panels[0].axvline(end - 0.5, ymin=0.96, color="white", lw=1)
    panels[0].set(xlabel="tokens of the demonstrations", ylabel="vector")
    share = by_demonstration(seen)
    panels[1].bar(range(1, len(share) + 1), share, color="#D6568E")
    panels[1].set(xlabel="demonstration", ylabel="share of attention")
    # The first token of a text takes what is needed nowhere else, and would hide the rest.
    order = 1 + np.argsort(-seen.weights[:, 1:].mean(0))[:TOKENS_SHOWN]
    most = tuple(AttendedToken(seen.tokens[place], _mean(seen, place)) for place in order)
    titles = ", ".join(repr(one.token) for one in most)
    plain([panels[0].set_title(f"{task.name}: most attended {titles}", fontsize=8, loc="left")])
    save(drawn, out)
    report = AttentionReport(
        run=str(public(str(run))),
        task=task.name,
        positions=int(seen.weights.shape[0]),
        tokens=len(seen.tokens),
        first_token_share=float(seen.weights[:, 0].mean()),
        share_by_demonstration=tuple(share),
        most_attended=most,
        figure=str(public(f"{out}.png")),
    )
    told: dict[str, Any] = to_json(report)
    write_json(out.with_name(f"{out.name}.json"), told)
    return told


def by_demonstration(seen: Seen) -> list[float]:
    """How the vectors' attention is divided among the demonstrations, without the first token."""
    places = seen.weights.mean(0).astype(float)
    places[0] = 0.0
    parts = [float(part.sum()) for part in np.split(places, seen.ends[:-1])]
    total = sum(parts) or 1.0
    return [part / total for part in parts]


def _ends(tokenizer: Any, texts: Sequence[str], length: int) -> list[int]:
    """The places after each demonstration's last token, of those that were read."""
    ends = []
    for count in range(1, len(texts) + 1):
        end = len(token_ids(tokenizer, SEPARATOR.join(texts[:count]), special=True))
        ends.append(min(end, length))
        if end >= length:
            break
    return ends


def _mean(seen: Seen, place: int) -> float:
    return float(seen.weights[:, place].mean())
