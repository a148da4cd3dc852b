"""Contexts by attention matching: fewer positions that answer as all demonstrations do."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edgecd.contexts import matching
from edgecd.contexts.language import Continuation, Front, next_token_logits
from edgecd.contexts.matching import match_attention
from edgecd.errors import InputError
from edgecd.lm.models import LanguageModel, load_language_model
from edgecd.lm.past import remember_tokens
from tests import tiny

CPU = torch.device("cpu")
IDS = list(range(5, 45))
QUERIES = [[50 + (7 * row + 3 * place) % 90 for place in range(4 + row % 5)] for row in range(240)]


def language_model(folder: Path, family: tiny.Family) -> LanguageModel:
    tokenizer = tiny.tiny_tokenizer()
    model = tiny.tiny_causal_lm(family, len(tokenizer), 0)
    return load_language_model(str(tiny.save_model(model, tokenizer, folder)), CPU, torch.float32)


@torch.no_grad()
def error(lm: LanguageModel, front: Front, queries: list[list[int]]) -> float:
    """Of the log-probabilities after the queries, against those after all tokens."""
    asked = [Continuation((*query, 1), 1) for query in queries]
    answers = [
        torch.log_softmax(next_token_logits(lm, one, asked, True)[0], dim=-1)
        for one in (front, remember_tokens(lm, IDS))
    ]
    return float((answers[0] - answers[1]).square().mean().sqrt())


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_a_few_fitted_positions_answer_new_queries_better(
    family: tiny.Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = language_model(tmp_path / "model", family)
    known, new = QUERIES[:200], QUERIES[200:]
    implementation = lm.model.config._attn_implementation
    with torch.no_grad():  # as a caller may have it
        fitted = match_attention(lm, IDS, known, 24)
    assert all(keys.shape[2] == values.shape[2] == 24 for keys, values in fitted)
    assert lm.model.config._attn_implementation == implementation
    monkeypatch.setattr(matching, "STEPS", 0)  # keys and values as they were
    plain = {count: match_attention(lm, IDS, known, count) for count in (24, 36)}
    assert error(lm, fitted, new) < error(lm, plain[24], new)
    assert error(lm, plain[36], new) < 0.6 * error(lm, plain[24], new)
    assert error(lm, plain[24], new) < error(lm, remember_tokens(lm, IDS[:1]), new)


@pytest.mark.parametrize("family", [*tiny.FUSED, "mistral"])
def test_all_positions_are_the_demonstrations_themselves(
    family: tiny.Family, tmp_path: Path
) -> None:
    lm = language_model(tmp_path / "model", family)
    assert error(lm, match_attention(lm, IDS, QUERIES, len(IDS) + 9), QUERIES) < 1e-4


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gemma3_text", "see 8 tokens"),
        ("opt", "learned its places"),
        ("gpt2", "learned its places"),
    ],
)
def test_models_that_it_does_not_fit_are_refused(
    family: tiny.Family, message: str, tmp_path: Path
) -> None:
    lm = language_model(tmp_path / "model", family)
    with pytest.raises(InputError, match=message):
        match_attention(lm, IDS, QUERIES, 8)
