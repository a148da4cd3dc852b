"""llama.cpp with Q8_0 weights, through llama-cpp-python.

The GGUF file holds a causal language model. A merged checkpoint's `score` rows are rows of the
tied embedding as a rule: then the file has no head of its own, and the label logits are two of the
next token's. Otherwise the rows get a head, at the first token ids. Only the last position's
logits are computed. The embedding mode with `score` outside would compute the head everywhere.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.peers.checkpoint import Logits, load_classifier, model_type
from edgecd.errors import InputError

if TYPE_CHECKING:
    from edgecd.tasks.encoding import Encoded

PACKAGE, PROVIDER = "llama-cpp-python", "cpu"
IMPORTS = ("llama_cpp",)
Weights = NDArray[np.float32]
FAMILIES = ("llama", "qwen2")
CONTEXT_TOKENS = 512  # llama-cpp-python's defaults for the context and for one batch


def prepare(checkpoint: Path, folder: Path, variant: str, work: Path) -> None:
    """`model.gguf`, and `labels.json` with the token ids whose logits are the labels'.

    InputError for a family other than Llama and Qwen2: encoders, too.
    """
    family = model_type(checkpoint)
    if family not in FAMILIES:
        raise InputError(f"only {' and '.join(FAMILIES)} are written for llama.cpp, not {family}")
    import gguf

    model = load_classifier(checkpoint)
    config = model.config
    arch = gguf.MODEL_ARCH[family.upper()]
    writer = gguf.GGUFWriter(folder / "model.gguf", gguf.MODEL_ARCH_NAMES[arch])
    _describe(writer, config)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    labels, head = _head(weights.pop("score.weight"), weights["model.embed_tokens.weight"])
    if head is not None:
        weights["lm_head.weight"] = head
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    rotated = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in weights.items():
        heads = rotated.get(name.split(".")[-2])
        if family == "llama" and heads is not None:
            tensor = _interleaved(tensor, heads)
        _add(writer, names.get_name(name, try_suffixes=(".weight", ".bias")), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")


def load(folder: Path, variant: str, threads: int, max_tokens: int) -> Logits:
    """A prompt's tokens to logits."""
    import llama_cpp

    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    llama = llama_cpp.Llama(
        str(folder / "model.gguf"),
        n_ctx=max(CONTEXT_TOKENS, max_tokens),
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    size = ctypes.c_float * llama.n_vocab()

    def answer(one: Encoded) -> NDArray[np.float32]:
        llama.reset()
        llama.eval(one.ids)
        row = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
        scores = np.frombuffer(size.from_address(ctypes.addressof(row.contents)), np.float32)
        logits: NDArray[np.float32] = scores[labels]
        return logits

    return answer


def _describe(writer: Any, config: Any) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope.get("rope_theta") or config.rope_theta)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")  # token ids are passed


def _head(score: Weights, embedding: Weights) -> tuple[list[int], Weights | None]:
    """(token ids of the labels, head): the head is None where the tied embedding will do."""
    found = [np.flatnonzero((embedding == row).all(axis=1)) for row in score]
    if all(len(places) for places in found):
        return [int(places[0]) for places in found], None
    head = np.zeros_like(embedding)
    head[: len(score)] = score
    return list(range(len(score))), head


def _interleaved(tensor: Weights, heads: int) -> Weights:
    """Rows of a head from halves to pairs: llama.cpp rotates neighbours for Llama."""
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _add(writer: Any, name: str | None, tensor: Weights) -> None:
    """Matrices in Q8_0 where their rows divide into its blocks of 32, vectors in fp32."""
    import gguf

    if name is None:
        raise InputError("GGUF has no name for one of the checkpoint's weights")
    kind = gguf.GGMLQuantizationType.F32
    if tensor.ndim == 2:
        kind = gguf.GGMLQuantizationType["F16" if tensor.shape[1] % 32 else "Q8_0"]
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
