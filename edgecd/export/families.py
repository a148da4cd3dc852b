"""How each family of transformers names its modules: a model as a `Stack`, and nobody else asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.errors import InputError
from edgecd.export.modules import read_array, read_linear, read_norm
from edgecd.export.stack import (
    Attention,
    Block,
    Linear,
    Mlp,
    Norms,
    Past,
    Rotary,
    Stack,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_stack(model: PreTrainedModel, prefix: Sequence[int] = ()) -> Stack:
    """The description of a `*ForSequenceClassification` model of one of `FUSED_FAMILIES`.

    `prefix` holds the token ids that every text starts with: their keys and values become
    constants. Raises InputError for a family or a configuration that cannot be described exactly.
    """
    family = model.config.model_type
    if family not in _READERS:
        raise InputError(
            f"no fused graph for model type '{family}' (known: {', '.join(sorted(_READERS))}): "
            "use --exporter torch"
        )
    nothing = [None] * model.config.num_hidden_layers
    return _READERS[family](model, read_pasts(model, prefix) if prefix else nothing)


def read_pasts(model: PreTrainedModel, prefix: Sequence[int]) -> list[Past]:
    """What each layer remembers of constant tokens, as the model itself computes it."""
    import torch
    from transformers import DynamicCache

    layers = model.config.num_hidden_layers
    with torch.inference_mode():
        ids = torch.tensor([list(prefix)], device=model.device)
        cache = DynamicCache()  # the model's own forgets what is behind a layer's window
        model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    return [
        Past(read_array(layer.keys[0]), read_array(layer.values[0]))
        for layer in list(cache.layers)[:layers]
    ]


def _read_opt(model: PreTrainedModel, pasts: Sequence[Past | None]) -> Stack:
    config, decoder = model.config, _module(model, "model.decoder")

    def norms(layer: Any) -> Norms:
        norm = read_norm(layer)
        return Norms(input=norm) if config.do_layer_norm_before else Norms(total=norm)

    blocks = []
    for layer, past in zip(decoder.layers, pasts, strict=True):
        attention = layer.self_attn
        blocks.append(
            Block(
                Attention(
                    *_projections(attention, "out_proj"),
                    heads=config.num_attention_heads,
                    kv_heads=config.num_attention_heads,
                    scale=attention.scaling,
                    past=past,
                ),
                norms(layer.self_attn_layer_norm),
                Mlp(read_linear(layer.fc1), read_linear(layer.fc2), config.activation_function),
                norms(layer.final_layer_norm),
            )
        )
    return Stack(
        tokens=read_array(decoder.embed_tokens.weight),
        positions=read_array(decoder.embed_positions.weight)[decoder.embed_positions.offset :],
        project_in=read_linear(decoder.project_in) if decoder.project_in else None,
        project_out=read_linear(decoder.project_out) if decoder.project_out else None,
        blocks=blocks,
        final_norm=read_norm(decoder.final_layer_norm) if decoder.final_layer_norm else None,
        head=_head(model),
    )


def _read_gpt2(model: PreTrainedModel, pasts: Sequence[Past | None]) -> Stack:
    config, body = model.config, _module(model, "transformer")
    blocks = []
    for number, (layer, past) in enumerate(zip(body.h, pasts, strict=True)):
        packed = read_linear(layer.attn.c_attn)
        weights = np.split(packed.weight, 3, axis=1)
        biases = np.split(packed.bias, 3) if packed.bias is not None else [None] * 3
        q, k, v = (Linear(*parts) for parts in zip(weights, biases, strict=True))
        scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scale /= number + 1
        out, mlp = read_linear(layer.attn.c_proj), layer.mlp
        heads = config.n_head
        blocks.append(
            Block(
                Attention(q, k, v, out, heads, heads, scale, past=past),
                Norms(input=read_norm(layer.ln_1)),
                Mlp(read_linear(mlp.c_fc), read_linear(mlp.c_proj), config.activation_function),
                Norms(input=read_norm(layer.ln_2)),
            )
        )
    return Stack(
        tokens=read_array(body.wte.weight),
        positions=read_array(body.wpe.weight),
        blocks=blocks,
        final_norm=read_norm(body.ln_f),
        head=_head(model),
    )


def _read_llama(model: PreTrainedModel, pasts: Sequence[Past | None]) -> Stack:
    """Llama, Qwen2 (which adds biases to q, k and v) and Qwen3 (which normalises q and k)."""
    config, body = model.config, _module(model, "model")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise InputError(
            "the fused graph has no sliding window for this family: use --exporter torch, or set "
            "use_sliding_window to false when texts are shorter than the window"
        )
    rotary = _rotary(body.rotary_emb)
    blocks = [
        Block(
            _gated_attention(layer.self_attn, config, rotary, past),
            Norms(input=read_norm(layer.input_layernorm)),
            _gated_mlp(layer.mlp, config.hidden_act),
            Norms(input=read_norm(layer.post_attention_layernorm)),
        )
        for layer, past in zip(body.layers, pasts, strict=True)
    ]
    return Stack(
        tokens=read_array(body.embed_tokens.weight),
        blocks=blocks,
        final_norm=read_norm(body.norm),
        head=_head(model),
    )


def _read_gemma3(model: PreTrainedModel, pasts: Sequence[Past | None]) -> Stack:
    config, body = model.config, _module(model, "model")
    if config.attn_logit_softcapping or getattr(config, "use_bidirectional_attention", False):
        raise InputError(
            "the fused graph has neither soft caps nor bidirectional attention: "
            "use --exporter torch"
        )
    blocks = [
        Block(
            _gated_attention(
                layer.self_attn, config, _gemma3_rotary(body, layer.self_attn.is_sliding), past
            ),
            Norms(read_norm(layer.input_layernorm), read_norm(layer.post_attention_layernorm)),
            _gated_mlp(layer.mlp, config.hidden_activation),
            Norms(
                read_norm(layer.pre_feedforward_layernorm),
                read_norm(layer.post_feedforward_layernorm),
            ),
        )
        for layer, past in zip(body.layers, pasts, strict=True)
    ]
    return Stack(
        tokens=read_array(body.embed_tokens.weight) * np.float32(body.embed_tokens.embed_scale),
        blocks=blocks,
        final_norm=read_norm(body.norm),
        head=_head(model),
    )


_READERS: Mapping[str, Callable[[Any, Sequence[Past | None]], Stack]] = {
    "opt": _read_opt,
    "gpt2": _read_gpt2,
    "llama": _read_llama,
    "qwen2": _read_llama,
    "qwen3": _read_llama,
    "gemma3_text": _read_gemma3,
}
FUSED_FAMILIES: frozenset[str] = frozenset(_READERS)


def _gated_attention(attention: Any, config: Any, rotary: Rotary, past: Past | None) -> Attention:
    normed = hasattr(attention, "q_norm")
    return Attention(
        *_projections(attention, "o_proj"),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        scale=attention.scaling,
        q_norm=read_norm(attention.q_norm) if normed else None,
        k_norm=read_norm(attention.k_norm) if normed else None,
        rotary=rotary,
        window=getattr(attention, "sliding_window", None),
        past=past,
    )


def _gated_mlp(mlp: Any, activation: str) -> Mlp:
    down, gate = read_linear(mlp.down_proj), read_linear(mlp.gate_proj)
    return Mlp(read_linear(mlp.up_proj), down, activation, gate)


def _rotary(module: Any) -> Rotary:
    rope_type = getattr(module, "rope_type", "default")
    if rope_type not in ("default", "linear", "llama3", "yarn"):
        raise InputError(
            f"rope type '{rope_type}' changes with the length of the text, which the fused graph "
            "does not do: use --exporter torch"
        )
    return Rotary(read_array(module.inv_freq), float(module.attention_scaling))


def _gemma3_rotary(body: Any, sliding: bool) -> Rotary:
    if hasattr(body, "rotary_emb_local"):  # transformers 4
        return _rotary(body.rotary_emb_local if sliding else body.rotary_emb)
    kind = "sliding_attention" if sliding else "full_attention"
    rotary = body.rotary_emb
    if rotary.rope_type[kind] not in ("default", "linear"):
        raise InputError(f"no fused graph for rope type '{rotary.rope_type[kind]}' of Gemma 3")
    frequencies = read_array(getattr(rotary, f"{kind}_inv_freq"))
    return Rotary(frequencies, float(getattr(rotary, f"{kind}_attention_scaling")))


def _module(model: PreTrainedModel, path: str) -> Any:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise InputError(
            f"{type(model).__name__} has no '{path}': a *ForSequenceClassification model with a "
            "linear 'score' layer is needed"
        ) from None


def _head(model: PreTrainedModel) -> Linear:
    return read_linear(_module(model, "score"))


def _projections(attention: Any, out: str) -> tuple[Linear, Linear, Linear, Linear]:
    """q, k, v, and the output projection by its name."""
    q, k, v = (read_linear(getattr(attention, name)) for name in ("q_proj", "k_proj", "v_proj"))
    return q, k, v, read_linear(getattr(attention, out))
