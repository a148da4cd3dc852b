"""Fewer layers: a student that keeps some of its model's, before it learns to do without the rest.

Dropping whole layers of a finished model, then distilling: DistilBERT (arXiv 1910.01108), LayerDrop
(arXiv 1909.11556), ShortGPT (arXiv 2403.03853).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from edgecd.lm.models import LanguageModel, Unsupported


def kept_layers(total: int, keep: int) -> tuple[int, ...]:
    """Which `keep` of `total` layers stay, 0 < keep <= total: three quarters from the front on, and
    the rest from the end; at least one of each, but a single layer is the first.

    What is lost is a block behind the middle (arXiv 2403.17887). SmolLM2-135M, 15 of 30 layers, 500
    texts: 0.59 right so, 0.46 with the first 15, 0.31 with every second one.
    """
    tail = max(1, keep // 4) if keep > 1 else 0
    return (*range(keep - tail), *range(total - tail, total))


def layers_of(config: Any) -> int:
    """How many layers a model of that configuration has."""
    return int(config.get_text_config().num_hidden_layers)


def check_layers(name: str, config: Any, keep: int) -> None:
    """Raise Unsupported where a model has fewer layers, or none that can be taken out.

    Loads no weights.
    """
    if keep > layers_of(config):
        raise Unsupported(f"--layers {keep}: {name} has {layers_of(config)}")
    with torch.device("meta"):
        _stack_of(AutoModel.from_config(config), name)


def keep_layers(lm: LanguageModel, keep: int) -> LanguageModel:
    """The same model with `keep` of its layers (see `kept_layers`), its configuration changed too.

    It is made anew from that configuration, so that its checkpoint loads as what was trained.
    Raises Unsupported as `check_layers`.
    """
    model = lm.model
    total = layers_of(model.config)
    if keep == total:
        return lm
    if keep > total:
        raise Unsupported(f"--layers {keep}: {lm.name} has {total}")
    places = kept_layers(total, keep)
    stack = f"{_stack_of(model, lm.name)}."
    state = {}
    for key, value in model.state_dict().items():
        if key.startswith(stack):
            number, _, rest = key.removeprefix(stack).partition(".")
            if int(number) not in places:
                continue
            key = f"{stack}{places.index(int(number))}.{rest}"
        state[key] = value
    kind: Any = type(model)
    smaller: PreTrainedModel = kind(config_of(model.config, places))
    try:
        smaller.load_state_dict(state)
    except RuntimeError as bad:
        first = str(bad).strip().splitlines()[-1].strip()
        raise Unsupported(f"--layers: {lm.name} cannot do without some of them: {first}") from None
    moved: Any = smaller.to(model.dtype)
    return replace(lm, model=moved.to(model.device).eval())


def config_of(config: Any, places: tuple[int, ...]) -> Any:
    """The configuration of a model with the layers at `places` of this one's alone."""
    total = layers_of(config)
    changed = copy.deepcopy(config)
    for name, value in config.to_dict().items():
        # `layer_types` and its kin say for each layer what it is
        if "layer" in name and isinstance(value, list) and len(value) == total:
            setattr(changed, name, [value[place] for place in places])
    changed.num_hidden_layers = len(places)
    return changed


def _stack_of(model: PreTrainedModel, name: str) -> str:
    """The path of the list of layers in a model; Unsupported unless there is exactly one."""
    total = layers_of(model.config)
    found = [
        path
        for path, part in model.named_modules()
        if isinstance(part, torch.nn.ModuleList)
        and len(part) == total
        and len({type(layer) for layer in part}) == 1
        and any(True for _ in part.parameters())
    ]
    # Lists inside a layer may have as many parts
    outer = [path for path in found if not any(path.startswith(f"{one}.") for one in found)]
    if len(outer) != 1:
        raise Unsupported(
            f"--layers: {name} ({model.config.model_type}) keeps its layers in {len(outer)} lists "
            "of that many, and only those of one list can be taken out"
        )
    return str(outer[0])
