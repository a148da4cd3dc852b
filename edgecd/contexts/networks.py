"""What makes a front: MEND's distiller, HyperTuning's hypernetwork, gists, and tuned vectors.

Each is a module whose `front` takes the token ids of demonstrations; only its own parameters train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from peft import PeftModel
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from edgecd.contexts.language import Front, front_of_tokens, front_of_vectors
from edgecd.errors import InputError
from edgecd.lm.models import LanguageModel
from edgecd.lm.past import Pasts, places, start_ids

SAMPLE = 256  # tokens that a distiller's states are measured on


class Reader(nn.Module):
    """A language model's body that reads demonstrations, then `positions` learned placeholders.

    Gives its last hidden states at the placeholders, [positions, width].
    """

    def __init__(self, body: PreTrainedModel, positions: int, seed: int) -> None:
        super().__init__()
        self.body = body
        self.placeholders = nn.Parameter(_random_embeddings(body, positions, seed))

    @property
    def is_adapted(self) -> bool:
        """Whether an adapter trains, in place of the whole body."""
        return isinstance(self.body, PeftModel)

    def merged(self) -> PreTrainedModel:
        """The body with its adapter, where there is one, added into the weights, in place."""
        body: Any = self.body.merge_and_unload() if self.is_adapted else self.body
        merged: PreTrainedModel = body
        return merged

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return int(self.body.config.get_text_config().hidden_size)

    def forward(self, ids: Sequence[int]) -> torch.Tensor:
        """Hidden states at the placeholders, after the tokens `ids`."""
        states: torch.Tensor = self.body(inputs_embeds=self.embedded(ids), use_cache=False)[0]
        return states[0, len(ids) :]

    def remember(self, ids: Sequence[int], first: int) -> Pasts:
        """Keys and values of each layer at the placeholders, the first of them at place `first`."""
        cache = DynamicCache()
        self.read_into(cache, ids, first)
        return [
            (layer.keys[:, :, len(ids) :], layer.values[:, :, len(ids) :]) for layer in cache.layers
        ]

    def read_into(self, cache: DynamicCache, ids: Sequence[int], first: int, **options: Any) -> Any:
        """Read tokens, then the placeholders, the first of these at place `first`.

        The tokens before may have negative places (see `places`). An adapter works at the
        placeholders alone, and the tokens are read by the model as it is: what it knows of reading
        stays, and only the placeholders need a gradient (conditional LoRA,
        https://arxiv.org/abs/2312.03414). Gives the body's output, whose last rows are the
        placeholders'.
        """
        if not self.is_adapted:
            return self._read(cache, self.embedded(ids), first - len(ids), **options)
        with torch.no_grad(), self.body.disable_adapter():
            self._read(cache, self._tokens(ids), first - len(ids))
        return self._read(cache, self._placeholders(), first, **options)

    def _read(self, cache: DynamicCache, embedded: torch.Tensor, first: int, **options: Any) -> Any:
        """Read embeddings [1, tokens, width], the first of them at place `first`."""
        return self.body(
            inputs_embeds=embedded,
            position_ids=places(self.body, first, embedded.shape[1]),
            past_key_values=cache,
            use_cache=True,
            **options,
        )

    def embedded(self, ids: Sequence[int]) -> torch.Tensor:
        """The tokens' embeddings, then the placeholders, [1, tokens + positions, width]."""
        return torch.cat([self._tokens(ids), self._placeholders()], dim=1)

    def _tokens(self, ids: Sequence[int]) -> torch.Tensor:
        tokens = torch.tensor([list(ids)], dtype=torch.long, device=self.placeholders.device)
        found: torch.Tensor = self.body.get_input_embeddings()(tokens)
        return found

    def _placeholders(self) -> torch.Tensor:
        return self.placeholders[None].to(self.body.get_input_embeddings().weight.dtype)


class Network(nn.Module):
    """What makes contexts for a frozen language model; each `method` has one."""

    method: ClassVar[str]

    def front(self, lm: LanguageModel, ids: Sequence[int]) -> Front:
        """What stands in front of a query after demonstrations of these token ids."""
        raise NotImplementedError


class ReadingNetwork(Network):
    """A network whose `reader` reads the demonstrations."""

    reader: Reader


class Distiller(ReadingNetwork):
    """MEND (https://arxiv.org/abs/2403.06914): demonstrations in, vectors for a frozen model out.

    The reader's states are the vectors; where the two widths differ, a linear layer and tanh are
    between them. `gain` and `shift`, found before training and fixed, give each channel the mean
    and the spread that it has in the frozen model's embeddings: a final norm leaves most of the
    size in a few channels, so that all vectors would look alike.
    """

    method = "mend"

    def __init__(self, body: PreTrainedModel, lm: LanguageModel, positions: int, seed: int) -> None:
        super().__init__()
        self.reader = Reader(body, positions, seed)
        table = lm.model.get_input_embeddings().weight
        width = int(table.shape[1])
        self.project: nn.Module = nn.Identity()  # or `projection`, and tanh
        if width != self.reader.width:
            self.project = nn.Sequential(nn.Linear(self.reader.width, width), nn.Tanh())
        with torch.no_grad():
            read = _random_embeddings(body, SAMPLE, seed)[None].to(body.dtype)
            made = self.project(body(inputs_embeds=read)[0][0, 1:].float())
            gain = table.float().std(0) / made.std(0).clamp_min(1e-6)
        self.gain: torch.Tensor
        self.shift: torch.Tensor
        self.register_buffer("gain", gain)
        self.register_buffer("shift", table.float().mean(0) - made.mean(0) * gain)

    @property
    def projection(self) -> nn.Linear | None:
        """The linear layer between the two widths; None where they are one."""
        if not isinstance(self.project, nn.Sequential):
            return None
        layer = self.project[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def vectors(self, ids: Sequence[int]) -> torch.Tensor:
        """[positions, width of the frozen model]."""
        made: torch.Tensor = self.project(self.reader(ids)) * self.gain + self.shift
        return made

    def front(self, lm: LanguageModel, ids: Sequence[int]) -> Front:
        """What the frozen model remembers of the vectors."""
        return front_of_vectors(lm, self.vectors(ids))


class Hypernetwork(ReadingNetwork):
    """HyperTuning (https://arxiv.org/abs/2211.12485): demonstrations in, keys and values out.

    A linear layer makes every layer's keys and values of a position from the reader's state there,
    as a change of those of random tokens, so that an untrained one does no harm.
    """

    method = "hypertuning"

    def __init__(self, body: PreTrainedModel, lm: LanguageModel, positions: int, seed: int) -> None:
        super().__init__()
        self.reader = Reader(body, positions, seed)
        tokens = _random_tokens(lm.model, positions, seed)
        start = front_of_tokens(lm, tokens)
        if isinstance(start, torch.Tensor):
            raise InputError(
                f"--method hypertuning makes keys and values, and {lm.name} has an encoder: "
                "use --method mend"
            )
        # [layers, 2, kv_heads, positions, head_size]
        base = torch.stack([torch.stack([keys[0], values[0]]) for keys, values in start]).float()
        self.base = nn.Parameter(base)
        self.change = nn.Linear(self.reader.width, base.numel() // positions, bias=False)
        nn.init.zeros_(self.change.weight)

    def front(self, lm: LanguageModel, ids: Sequence[int]) -> Front:
        """The keys and values themselves."""
        layers, two, heads, positions, size = self.base.shape
        change = self.change(self.reader(ids)).view(positions, layers, two, heads, size)
        past = (self.base + change.permute(1, 2, 3, 0, 4)).to(lm.dtype)
        return [(layer[0][None], layer[1][None]) for layer in past]


class Gist(ReadingNetwork):
    """Gist tokens (https://arxiv.org/abs/2304.08467): what the model remembers of placeholders.

    The reader starts as the frozen model, and its keys and values at the placeholders are the
    context: no second model turns vectors into them. The first position is a start token's, as
    attention rests there when it has nothing to look for.
    """

    method = "gist"

    def __init__(self, body: PreTrainedModel, lm: LanguageModel, positions: int, seed: int) -> None:
        super().__init__()
        if positions < 2:
            raise InputError("--method gist needs --vectors 2 or more: the first is a start token")
        self.reader = Reader(body, positions - 1, seed)
        start = front_of_tokens(lm, start_ids(lm)[:1])
        made = self.reader.remember((0,), 1)
        if (
            isinstance(start, torch.Tensor)
            or len(made) != len(start)
            or any(
                ours[0].shape[1::2] != theirs[0].shape[1::2]
                for ours, theirs in zip(made, start, strict=True)
            )
        ):
            raise InputError(
                f"--method gist reads with the frozen model's own layers, and those of {lm.name} "
                "are others than the distiller's: leave --distiller out, or use --method mend"
            )
        base = torch.stack([torch.stack([keys[0], values[0]]) for keys, values in start])
        self.start: torch.Tensor
        self.register_buffer("start", base.float())

    def front(self, lm: LanguageModel, ids: Sequence[int]) -> Front:
        """The start token's keys and values, then the placeholders'."""
        made = self.reader.remember(ids, 1)
        return [
            (
                torch.cat([start[0][None].to(lm.dtype), keys.to(lm.dtype)], dim=2),
                torch.cat([start[1][None].to(lm.dtype), values.to(lm.dtype)], dim=2),
            )
            for start, (keys, values) in zip(self.start, made, strict=True)
        ]


class SoftPrompt(Network):
    """Prompt tuning (https://arxiv.org/abs/2104.08691): vectors trained for one task."""

    method = "prompt-tuning"

    def __init__(self, lm: LanguageModel, positions: int, seed: int) -> None:
        super().__init__()
        self.prompt = nn.Parameter(_random_embeddings(lm.model, positions, seed))

    def front(self, lm: LanguageModel, ids: Sequence[int]) -> Front:
        """What the frozen model remembers of the vectors; `ids` are not read."""
        del ids
        return front_of_vectors(lm, self.prompt)


READING: dict[str, type[Distiller | Hypernetwork | Gist]] = {
    kind.method: kind for kind in (Distiller, Hypernetwork, Gist)
}


def make_network(
    method: str, lm: LanguageModel, body: PreTrainedModel | None, positions: int, seed: int
) -> Network:
    """The network of a method; InputError for one whose context does not fit the model."""
    if positions >= lm.max_positions:
        raise InputError(f"{positions} vectors are more than {lm.name} has positions for")
    if method == SoftPrompt.method or body is None:
        return SoftPrompt(lm, positions, seed)
    return READING[method](body, lm, positions, seed)


def _random_tokens(model: PreTrainedModel, count: int, seed: int) -> list[int]:
    chance = torch.Generator().manual_seed(seed)
    rows = model.get_input_embeddings().weight.shape[0]
    drawn: list[int] = torch.randint(rows, (count,), generator=chance).tolist()
    return drawn


def _random_embeddings(model: PreTrainedModel, count: int, seed: int) -> torch.Tensor:
    table: torch.Tensor = model.get_input_embeddings().weight
    return table[_random_tokens(model, count, seed)].detach().clone().float()
