"""Small things of encoders made in memory for tests: classifiers, tokenizers, a run folder."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tests import tiny
from tests.tiny import PAD_TOKEN_ID, built, padded_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Encoder = Literal[
    "bert",
    "camembert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "deberta",
    "deberta-v2",
    "electra",
    "modernbert",
    "mpnet",
]
ENCODERS: tuple[Encoder, ...] = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")
TRACED_ENCODERS: tuple[Encoder, ...] = ("deberta", "deberta-v2", "electra", "modernbert", "mpnet")
LABELS = 3
TYPED: tuple[Encoder, ...] = ("bert", "electra")  # they take token types
TEXT_TEMPLATE = "{premise} It was"
_NAMES: dict[str, Any] = {
    "num_labels": len(tiny.LABELS),
    "id2label": dict(enumerate(tiny.LABELS)),
    "label2id": {label: number for number, label in enumerate(tiny.LABELS)},
}


def tiny_encoder(
    family: Encoder, vocab_size: int, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random `*ForSequenceClassification` of two layers, 64 wide, in fp32 and eval mode."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    common = {"vocab_size": vocab_size, "pad_token_id": PAD_TOKEN_ID, "num_labels": LABELS}
    # Wider than the usual 0.02: else every input gets nearly the same logits.
    common |= {"max_position_embeddings": 160, "initializer_range": 0.2}
    if family == "distilbert":
        wide = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
    else:
        wide = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        wide |= {"intermediate_size": 128}
    config = AutoConfig.for_model(
        family, **{**common, **wide, **_SPECIAL.get(family, {}), **changes}
    )
    return built(AutoModelForSequenceClassification, config, seed)


# What makes a family what it is, and is not its configuration's default.
_RELATIVE = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_size": 64,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "camembert": {"type_vocab_size": 1},
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "deberta": _RELATIVE,
    "deberta-v2": {
        **_RELATIVE,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 16,
    },
    "modernbert": {
        "global_attn_every_n_layers": 2,
        "local_attention": 16,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
}


def fitted_encoder(family: Encoder, vocab_size: int, steps: int = 150) -> PreTrainedModel:
    """One that tells which third of the vocabulary most of a text's tokens are of, or nearly so."""
    import torch

    model: Any = tiny_encoder(family, vocab_size, initializer_range=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        batch = segmented(model, padded_batch(32, 24, vocab_size, seed=1000 + step))
        gold = torch.from_numpy(majority_third(batch, vocab_size))
        logits = model(**{name: torch.from_numpy(value) for name, value in batch.items()}).logits
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, gold).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


def majority_third(batch: dict[str, np.ndarray], vocab_size: int) -> np.ndarray:
    """The third of the vocabulary that most real tokens of each row are of, int64 [rows]."""
    thirds = np.minimum(batch["input_ids"] * LABELS // vocab_size, LABELS - 1)
    real = batch["attention_mask"] == 1
    counts = [((thirds == third) & real).sum(axis=1) for third in range(LABELS)]
    return np.argmax(counts, axis=0)


def has_segments(model: Any) -> bool:
    """Whether the graph takes `token_type_ids`, too."""
    return getattr(model.config, "type_vocab_size", 0) > 1


def segmented(model: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch as the model takes it: where it has segments, texts' second halves are another."""
    if not has_segments(model):
        return batch
    lengths = batch["attention_mask"].sum(axis=1, keepdims=True)
    places = np.arange(batch["input_ids"].shape[1])
    second = (places >= lengths // 2) & (places < lengths)
    return {**batch, "token_type_ids": second.astype(np.int64)}


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's tokenizer over letters and half of `tiny.WORDS`; types tell the texts apart."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    # Not trained: the trainer breaks ties at random.
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    words = [word for word in tiny.WORDS[::2] if len(word) > 1]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *string.punctuation,
        *letters,
        *words,
        "##ly",
        "zebra",
        "quartz",
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(pieces[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def byte_pieces() -> PreTrainedTokenizerFast:
    """RoBERTa's tokenizer, with token types of 0 only; `<pad>` is 0, `<s>` 1, `</s>` 2."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    texts = [tiny.sentence(n) for n in range(50)]
    tokenizer = tiny.byte_level_bpe(texts, 400, ["<pad>", "<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
    )


def where_the_cat_is(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as of `tiny.examples`: `entailment` where the second text has the cat."""
    rng = random.Random(seed)
    others = [word for word in tiny.WORDS if word != "cat"]
    rows = []
    for number in range(count):
        texts = [rng.choices(others, k=rng.randint(1, 6)) for _ in range(2)]
        second = rng.random() < 0.5
        texts[second].insert(rng.randrange(len(texts[second]) + 1), "cat")
        fields = dict(zip(("premise", "hypothesis"), map(" ".join, texts), strict=True))
        label = "entailment" if second else "contradiction"
        rows.append({"id": f"p{number}", "fields": fields, "label": label})
    return rows


def fitted_to_pairs(steps: int = 150) -> PreTrainedModel:
    """A BERT over `word_pieces` that has learned `where_the_cat_is`, or nearly so."""
    import torch

    from edgecd.lm.rows import classifier_inputs
    from edgecd.tasks.encoding import encode_prompt
    from edgecd.tasks.prompts import PromptTemplate

    tokenizer = word_pieces()
    template = PromptTemplate(tiny.TEMPLATE, tiny.LABELS).without_pattern
    model: Any = tiny_encoder("bert", len(tokenizer), initializer_range=0.05, **_NAMES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        rows = where_the_cat_is(32, seed=1000 + step)
        encoded = [
            encode_prompt(tokenizer.backend_tokenizer, template, row["fields"], 64) for row in rows
        ]
        gold = torch.tensor([template.labels.index(row["label"]) for row in rows])
        logits = model(**classifier_inputs(model, encoded)).logits
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, gold).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


def encoder_run(
    folder: Path,
    family: Encoder,
    template: str = tiny.TEMPLATE,
    model: PreTrainedModel | None = None,
    rows: list[dict[str, Any]] | None = None,
) -> Path:
    """A run folder whose student is an encoder, which reads the fields of `template` alone.

    `rows` are its held-out examples, 40 of `tiny.examples` unless given.
    """
    tokenizer = byte_pieces() if "roberta" in family else word_pieces()
    names = ["input_ids", *(["token_type_ids"] if family in TYPED else []), "attention_mask"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    model = model or tiny_encoder(family, len(tokenizer), **_NAMES)
    tiny.tiny_run(folder, heldout=40, model=model, tokenizer=tokenizer, template=template)
    if rows is not None:
        tiny.write_jsonl(folder / "heldout.jsonl", rows)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    run["task"]["form"] = "text" if template == TEXT_TEMPLATE else "pair"
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder
