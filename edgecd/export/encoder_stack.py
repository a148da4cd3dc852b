"""Encoder classifiers in one plain description: numpy arrays, whatever the family.

Their layers are a decoder's (`stack.Block`), with what only an encoder has around them: segments,
a norm of the embeddings, and a head over the first token. `read_encoder` is the one place that
knows how each family of transformers names its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError
from edgecd.export.modules import read_array, read_linear, read_norm
from edgecd.export.stack import Array, Attention, Block, Linear, Mlp, Norm, Norms

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class EncoderStack:
    """A whole classifier: `head(activation(pooler(first token)))`.

    Tables are [rows, width], positions counted from 0; `segments` is there where a text's parts
    are told apart. Every norm of a layer is of a sum (`Norms.total`).
    """

    tokens: Array
    positions: Array
    embedding_norm: Norm
    blocks: Sequence[Block]
    pooler: Linear
    pooler_activation: str
    head: Linear
    segments: Array | None = None


def read_encoder(model: PreTrainedModel) -> EncoderStack:
    """The description of a `*ForSequenceClassification` model of one of `ENCODER_FAMILIES`.

    RoBERTa's positions do not count padding tokens, wherever they are: here they count the text's
    tokens, which is the same unless a text has a padding token in it. Raises InputError for an
    architecture or a configuration that cannot be described exactly.
    """
    family, name = model.config.model_type, type(model).__name__
    if family not in _READERS:
        raise InputError(
            f"no fused graph of an encoder for {name} (model type '{family}'; known: "
            f"{', '.join(sorted(_READERS))}): use --exporter torch"
        )
    if getattr(model.config, "is_decoder", False):
        raise InputError(
            f"{name} is configured as a decoder, whose tokens see only what is before them: set "
            "is_decoder to false, or use --exporter torch"
        )
    kind = getattr(model.config, "position_embedding_type", None) or "absolute"
    if kind != "absolute":
        raise InputError(
            f"{name} has '{kind}' positions, and the fused graph knows absolute ones only: "
            "use --exporter torch"
        )
    try:
        return _READERS[family](model)
    except AttributeError as missing:
        raise InputError(
            f"{name} is no encoder with the standard head of a *ForSequenceClassification model: "
            f"{missing}"
        ) from None


def _read_bert(model: Any) -> EncoderStack:
    """BERT and MiniLM."""
    body = model.bert
    positions, segments = _segments(body.embeddings)
    return EncoderStack(
        tokens=read_array(body.embeddings.word_embeddings.weight),
        positions=positions,
        segments=segments,
        embedding_norm=read_norm(body.embeddings.LayerNorm),
        blocks=_bert_blocks(body, model.config),
        pooler=read_linear(body.pooler.dense),
        pooler_activation="tanh",
        head=read_linear(model.classifier),
    )


def _read_roberta(model: Any) -> EncoderStack:
    """RoBERTa, XLM-R and CamemBERT, whose positions begin behind the padding token's."""
    body = model.roberta
    embeddings = body.embeddings
    positions, segments = _segments(embeddings)
    return EncoderStack(
        tokens=read_array(embeddings.word_embeddings.weight),
        positions=positions[embeddings.padding_idx + 1 :],
        segments=segments,
        embedding_norm=read_norm(embeddings.LayerNorm),
        blocks=_bert_blocks(body, model.config),
        pooler=read_linear(model.classifier.dense),
        pooler_activation="tanh",
        head=read_linear(model.classifier.out_proj),
    )


def _read_distilbert(model: Any) -> EncoderStack:
    body, config = model.distilbert, model.config
    blocks = [
        Block(
            _attention(
                [layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin],
                layer.attention.out_lin,
                config.n_heads,
            ),
            Norms(total=read_norm(layer.sa_layer_norm)),
            Mlp(read_linear(layer.ffn.lin1), read_linear(layer.ffn.lin2), config.activation),
            Norms(total=read_norm(layer.output_layer_norm)),
        )
        for layer in body.transformer.layer
    ]
    return EncoderStack(
        tokens=read_array(body.embeddings.word_embeddings.weight),
        positions=read_array(body.embeddings.position_embeddings.weight),
        embedding_norm=read_norm(body.embeddings.LayerNorm),
        blocks=blocks,
        pooler=read_linear(model.pre_classifier),
        pooler_activation="relu",
        head=read_linear(model.classifier),
    )


_READERS: Mapping[str, Callable[[Any], EncoderStack]] = {
    "bert": _read_bert,
    "camembert": _read_roberta,
    "distilbert": _read_distilbert,
    "roberta": _read_roberta,
    "xlm-roberta": _read_roberta,
}
ENCODER_FAMILIES: frozenset[str] = frozenset(_READERS)


def _segments(embeddings: Any) -> tuple[Array, Array | None]:
    """(positions, segments); a single segment is part of every position."""
    positions = read_array(embeddings.position_embeddings.weight)
    segments = read_array(embeddings.token_type_embeddings.weight)
    return (positions + segments[0], None) if len(segments) == 1 else (positions, segments)


def _bert_blocks(body: Any, config: Any) -> list[Block]:
    return [
        Block(
            _attention(
                [getattr(layer.attention.self, name) for name in ("query", "key", "value")],
                layer.attention.output.dense,
                config.num_attention_heads,
            ),
            Norms(total=read_norm(layer.attention.output.LayerNorm)),
            Mlp(
                read_linear(layer.intermediate.dense),
                read_linear(layer.output.dense),
                config.hidden_act,
            ),
            Norms(total=read_norm(layer.output.LayerNorm)),
        )
        for layer in body.encoder.layer
    ]


def _attention(projections: Sequence[Any], out: Any, heads: int) -> Attention:
    q, k, v = (read_linear(layer) for layer in projections)
    scale = (q.weight.shape[1] // heads) ** -0.5
    return Attention(q, k, v, read_linear(out), heads, heads, scale)
