"""Folders of small pretrained encoders with tokenizers of their own, as a user would have them."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests import tiny

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of BERT's kind: letters and words."""
    # Not trained: the trainer breaks ties at random, so that each process would have its own ids.
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = [word for word in tiny.WORDS if len(word) > 1]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def encoder_folder(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """A random pretrained encoder of two layers, without a head, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel

    tokenizer = wordpiece()
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 130,
    }
    if family == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
        sizes["max_position_embeddings"] = 130
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), pad_token_id=0, **{**sizes, **changes}
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
