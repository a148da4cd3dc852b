"""Small things made in memory for tests: a tokenizer, models of few layers, graphs, a run folder.

All of it is deterministic and offline; nothing here is trained.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Family = Literal["opt", "llama", "qwen2", "gpt2", "qwen3", "gemma3_text", "mistral"]
FUSED: tuple[Family, ...] = ("opt", "gpt2", "llama", "qwen2", "qwen3", "gemma3_text")
TRACED: Family = "mistral"  # no fused graph is written for it
GEMMA_WINDOW = 8
REAL_MODELS = Path.home() / ".cache" / "edgecd-models"  # folders as from a hub

TEMPLATE = "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:"
LABELS = {"entailment": " True", "contradiction": " False"}
TASK = f"""
name = "pairs"
template = {json.dumps(TEMPLATE)}
labels = {{ entailment = " True", contradiction = " False" }}
[data]
train = "train.jsonl"
validation = "validation.jsonl"
"""
PAD_TOKEN_ID = 0
VERBALIZER_WORDS = (
    " True",
    " False",
    " Yes",
    " No",
    " yes",
    " no",
    " positive",
    " negative",
    " Maybe",
    " Neither",
)
WORDS = (  # noqa: SIM905 (a list would be 60 lines)
    "the a one two red blue small big cat dog boy girl man woman house tree river road sits runs "
    "sleeps reads sees paints under over near behind and not old new quickly slowly happy sad"
).split()


def byte_level_bpe(texts: Iterable[str], vocab_size: int, special: list[str]) -> Tokenizer:
    """A BPE tokenizer over bytes as GPT-2's, learned from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tiny_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 460 tokens with `<pad>` (id 0) and `</s>` (id 1).

    Each of `VERBALIZER_WORDS` is one token; any other text falls back to bytes. `bos` puts
    `</s>` in front of every text, as OPT's tokenizer does.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    # The label words come often, so that their merges are learned first and in full.
    corpus = [word for word in VERBALIZER_WORDS for _ in range(500)]
    texts = [*corpus, TEMPLATE, *(sentence(n) for n in range(50))]
    tokenizer = byte_level_bpe(texts, 512, ["<pad>", "</s>"])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="</s> $A", special_tokens=[("</s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        bos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def started(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer as training leaves it: every prompt begins with a start token and a newline."""
    from edgecd.lm.models import LanguageModel
    from edgecd.training.student import add_start

    add_start(LanguageModel("tiny", None, tokenizer, ""))  # type: ignore[arg-type]
    return tokenizer


def tiny_config(family: Family, vocab_size: int, **changes: Any) -> Any:
    """The configuration of a two-layer model of `family`, 64 wide, with 4 heads of 16.

    Gemma 3 has three layers, since some of its layers see `GEMMA_WINDOW` tokens only.
    """
    from transformers import (
        Gemma3TextConfig,
        GPT2Config,
        LlamaConfig,
        MistralConfig,
        OPTConfig,
        Qwen2Config,
        Qwen3Config,
    )

    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "pad_token_id": PAD_TOKEN_ID,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    wide = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        # Wider than the usual 0.02: else every input gets nearly the same logits.
        "initializer_range": 0.2,
    }
    gated = {**wide, "num_key_value_heads": 2, "intermediate_size": 128}
    if family == "llama":
        return LlamaConfig(**{**common, **gated, **changes})
    if family == "qwen2":
        return Qwen2Config(**{**common, **gated, "tie_word_embeddings": True, **changes})
    if family == "qwen3":
        return Qwen3Config(**{**common, **gated, "head_dim": 16, **changes})
    if family == "gemma3_text":
        gemma = {**gated, "head_dim": 16, "query_pre_attn_scalar": 16, "num_hidden_layers": 3}
        gemma["layer_types"] = ["sliding_attention", "full_attention", "sliding_attention"]
        return Gemma3TextConfig(**{**common, **gemma, "sliding_window": GEMMA_WINDOW, **changes})
    if family == "mistral":
        return MistralConfig(**{**common, **gated, "sliding_window": None, **changes})
    if family == "opt":
        opt = {**wide, "ffn_dim": 128, "word_embed_proj_dim": 64, "dropout": 0.0}
        opt["init_std"] = opt.pop("initializer_range")
        return OPTConfig(**{**common, **opt, **changes})
    gpt2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.2}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2Config(**{**common, **gpt2, **no_dropout, **changes})


def tiny_causal_lm(
    family: Family, vocab_size: int, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random causal language model in fp32, in eval mode (see `tiny_config`)."""
    from transformers import AutoModelForCausalLM

    return built(AutoModelForCausalLM, tiny_config(family, vocab_size, **changes), seed)


def tiny_classifier(
    family: Family,
    vocab_size: int,
    labels: Mapping[str, str] = LABELS,
    seed: int = 0,
    **changes: Any,
) -> PreTrainedModel:
    """A random `*ForSequenceClassification` over `labels`, in fp32 and eval mode."""
    from transformers import AutoModelForSequenceClassification

    names = {"id2label": dict(enumerate(labels)), "label2id": {x: n for n, x in enumerate(labels)}}
    config = tiny_config(family, vocab_size, **{**names, **changes})
    return built(AutoModelForSequenceClassification, config, seed)


def with_outlier_token(vocab_size: int, size: float = 300.0) -> Any:
    """A Llama where token 5 makes one unit of the first layer's `down_proj` input huge."""
    import torch

    model: Any = tiny_classifier("llama", vocab_size)
    with torch.no_grad():
        mlp = model.model.layers[0].mlp
        model.model.embed_tokens.weight[5] *= 0.01
        model.model.embed_tokens.weight[5, 0] = 10
        mlp.gate_proj.weight[0], mlp.up_proj.weight[0] = 0.0, 0.0
        mlp.gate_proj.weight[0, 0] = mlp.up_proj.weight[0, 0] = size**0.5
        mlp.down_proj.weight[:, 0] *= 1 / size
    return model


def built(auto_class: Any, config: Any, seed: int) -> Any:
    """A random model of that configuration, none of whose biases and scales are trivial."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto_class.from_config(config).float().eval()
        for name, parameter in model.named_parameters():
            # Zero biases and scales of one would hide a bias or a scale that is left out.
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.05)
            elif parameter.ndim == 1:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def padded_batch(
    rows: int, length: int, vocab_size: int, prefix: Sequence[int] = (), seed: int = 0
) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask` of random ids, right padded to mixed lengths.

    The first row is full; every row starts with `prefix`, which is not part of `length`.
    """
    rng = np.random.default_rng([seed, rows, length])
    lengths = rng.integers(1, length + 1, rows)
    lengths[0] = length
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = np.where(mask == 1, rng.integers(2, vocab_size, (rows, length)), PAD_TOKEN_ID)
    start = np.tile(np.array(prefix, np.int64), (rows, 1))
    return {
        "input_ids": np.hstack([start, ids]),
        "attention_mask": np.hstack([np.ones_like(start), mask]),
    }


def open_graph(graph: onnx.ModelProto) -> InferenceSession:
    """A session of one thread over a graph in memory, with a device's own options."""
    import onnx

    from edgecd.runtime.session import open_session

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(graph, path)
        return open_session(path, threads=1)


def graph_logits(graph: onnx.ModelProto, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a graph answers to a batch."""
    logits: np.ndarray = open_graph(graph).run(None, dict(batch))[0]
    return logits


def torch_logits(model: Any, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """What PyTorch answers to a batch."""
    import torch

    with torch.inference_mode():
        tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
        logits: np.ndarray = model(**tensors).logits.numpy()
    return logits


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square error of logits, over their standard deviation."""
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Save a model and its tokenizer as a Hugging Face folder (safetensors); returns it."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentence(seed: int, words: int | None = None) -> str:
    """A sentence of random plain words, 3 to 12 of them unless told."""
    rng = random.Random(seed)
    chosen = rng.choices(WORDS, k=words or rng.randint(3, 12))
    return " ".join(chosen).capitalize() + "."


def examples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as in `heldout.jsonl`: {"id", "fields": {"premise", "hypothesis"}, "label"}."""
    names = list(LABELS)
    return [
        {
            "id": f"x{n}",
            "fields": {
                "premise": sentence(1000 * seed + 2 * n),
                "hypothesis": sentence(1000 * seed + 2 * n + 1),
            },
            "label": names[random.Random(1000 * seed + n).randrange(len(names))],
        }
        for n in range(count)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_run(
    folder: Path,
    family: Family = "llama",
    heldout: int = 64,
    max_length: int = 64,
    seed: int = 0,
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    template: str = TEMPLATE,
) -> Path:
    """A run folder as `edgecd train` leaves it (checkpoint, run.json, heldout.jsonl).

    `template` may use some of the fields of `examples` only.
    """
    tokenizer = tokenizer or started(tiny_tokenizer())
    model = model or tiny_classifier(family, len(tokenizer), seed=seed)
    save_model(model, tokenizer, folder / "checkpoint")
    write_jsonl(folder / "heldout.jsonl", examples(heldout, seed=7))
    run = {
        "task": {"name": "tiny-nli", "template": template, "labels": LABELS},
        "max_length": max_length,
        "teacher": "tiny-teacher",
        "student": f"tiny-{family}",
        "method": "cd",
        "adapter": "lora",
        "shots": 4,
        "seed": seed,
        "fingerprints": {"demonstrations": "0" * 64, "data": "1" * 64},
        "versions": {"edgecd": "0.1.0"},
        "metrics": {"accuracy": 0.5},
    }
    (folder / "run.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
    return folder
