"""Teacher scores: the cached prefix changes the cost, never the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecd.errors import InputError
from edgecd.lm.models import load_language_model
from edgecd.lm.scorer import label_logits, make_scorer, read_prefix
from edgecd.lm.scores import score_examples
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.metrics import calibrate_labels, label_calibration
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Example
from tests import tiny

TEMPLATE = PromptTemplate(
    "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:",
    {"entailment": " True", "contradiction": " False"},
)
EXAMPLES = [Example(row["id"], row["fields"], row["label"]) for row in tiny.examples(30)]
SHOTS, QUERIES = Demonstrations(tuple(EXAMPLES[:4])), EXAMPLES[4:]


def scorer_of(family, folder, bos=False):
    tokenizer = tiny.tiny_tokenizer(bos=bos)
    model = tiny.tiny_causal_lm(family, len(tokenizer))
    tiny.save_model(model, tokenizer, folder / family)
    lm = load_language_model(str(folder / family), torch.device("cpu"), torch.float32)
    return make_scorer(lm, TEMPLATE)


def nothing(done, total):
    pass


@pytest.mark.parametrize("family", ["opt", "llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("bos", [False, True])
def test_cached_prefix_equals_reading_everything_each_time(family, bos, tmp_path):
    scorer = scorer_of(family, tmp_path, bos)
    tokenizer = scorer.lm.text_tokenizer
    context = SHOTS.ids(tokenizer, TEMPLATE)
    queries = [encode_prompt(tokenizer, TEMPLATE, e.fields, 128, True).ids for e in QUERIES[:9]]
    prefix = read_prefix(scorer, context)
    naive = np.concatenate([label_logits(scorer, [context + query]) for query in queries])
    assert np.abs(label_logits(scorer, queries, prefix) - naive).max() < 1e-4
    # once more with the same prefix: reading a query leaves no trace in it
    assert np.abs(label_logits(scorer, queries[::-1], prefix)[::-1] - naive).max() < 1e-4


def test_scoring_goes_on_where_it_stopped(tmp_path):
    scorer = scorer_of("llama", tmp_path)
    arguments = (scorer, SHOTS, QUERIES, 128)

    class StopError(Exception):
        pass

    def stop_half_way(done, total):
        if done > total // 2:
            raise StopError

    whole, _ = score_examples(*arguments, tmp_path / "whole", 4, nothing)
    with pytest.raises(StopError):
        score_examples(*arguments, tmp_path / "cut", 4, stop_half_way)
    (file,) = (tmp_path / "cut").glob("*.jsonl")
    kept = len(file.read_text().splitlines())
    assert 0 < kept < len(QUERIES)
    with file.open("a") as out:
        out.write('{"id": "cut off in the mid')
    seen = []
    resumed, _ = score_examples(
        *arguments, tmp_path / "cut", 4, lambda done, total: seen.append(done)
    )
    assert seen[0] == kept, "what was scored before was scored again"
    np.testing.assert_allclose(
        resumed.log_probabilities, whole.log_probabilities, rtol=0, atol=1e-5
    )
    assert resumed.fingerprint == whole.fingerprint


def test_scores_are_made_anew_when_a_text_or_the_context_changes(tmp_path):
    scorer = scorer_of("llama", tmp_path)
    first, _ = score_examples(scorer, SHOTS, QUERIES, 128, tmp_path / "s", 4, nothing)
    fields = {**QUERIES[0].fields, "premise": "another text"}
    changed = [Example(QUERIES[0].id, fields, None), *QUERIES[1:]]
    second, _ = score_examples(scorer, SHOTS, changed, 128, tmp_path / "s", 4, nothing)
    moved = np.abs(first.log_probabilities - second.log_probabilities).max(-1)
    assert moved[0] > 1e-4 and moved[1:].max() < 1e-5
    third, _ = score_examples(
        scorer, Demonstrations(SHOTS.examples[:2]), QUERIES, 128, tmp_path / "s", 4, nothing
    )
    assert third.fingerprint != first.fingerprint


def test_more_shots_than_the_model_has_positions(tmp_path):
    scorer = scorer_of("opt", tmp_path)
    many = Demonstrations.of((EXAMPLES[i % 30].fields, "entailment") for i in range(500))
    with pytest.raises(InputError, match="lower --shots"):
        score_examples(scorer, many, QUERIES, 128, tmp_path / "s", 4, nothing)


def test_calibration_takes_a_label_bias_away():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    logits = np.stack([1.0 - truth, truth], 1) + rng.normal(0, 0.3, (400, 2)) + [5.0, 0.0]
    scores = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)
    assert (scores.argmax(-1) == truth).mean() < 0.6
    even = calibrate_labels(scores, label_calibration(scores))
    assert (even.argmax(-1) == truth).mean() > 0.9
    np.testing.assert_allclose(np.exp(even).sum(-1), 1, atol=1e-5)
