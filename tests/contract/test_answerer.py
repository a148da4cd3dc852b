"""Whatever answers queries looks the same, and gives the answers of the plain way to ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecd.errors import InputError
from edgecd.export.convert import export_run
from edgecd.lm.checkpoint import load_checkpoint, open_checkpoint
from edgecd.lm.models import Unsupported, load_language_model
from edgecd.lm.prompted import Prompted, prompted
from edgecd.lm.scorer import Scorer, make_scorer
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.answerer import Answerer, Fields
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import label_token_ids, token_ids
from edgecd.tasks.prompts import SEPARATOR, PromptTemplate
from edgecd.tasks.task import Example
from tests import tiny

CPU = torch.device("cpu")
TEMPLATE = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
ROWS = [row["fields"] for row in tiny.examples(21, seed=5)]
SHOWN = Demonstrations(
    tuple(Example(row["id"], row["fields"], row["label"]) for row in tiny.examples(4))
)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    tokenizer = tiny.tiny_tokenizer(bos=True)
    model = tiny.tiny_causal_lm("opt", len(tokenizer))
    folder = tiny.save_model(model, tokenizer, tmp_path_factory.mktemp("lm"))
    return make_scorer(load_language_model(str(folder), CPU, torch.float32), TEMPLATE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_run(tmp_path_factory.mktemp("run") / "run", "llama")


def check(answerer: Answerer, rows: list[Fields]) -> np.ndarray:
    """Everything that is promised of an answerer; returns its logits."""
    logits = answerer.logits(rows)
    assert answerer.labels == tuple(tiny.LABELS)
    assert logits.shape == (len(rows), len(tiny.LABELS)) and logits.dtype == np.float32
    assert len(answerer.encode(rows)) == len(rows)
    np.testing.assert_allclose(answerer.logits(rows[::-1])[::-1], logits, atol=1e-4)
    alone = np.concatenate([answerer.logits([row]) for row in rows])
    np.testing.assert_allclose(alone, logits, atol=1e-4)
    assert answerer.logits([]).shape == (0, len(tiny.LABELS)) and answerer.encode([]) == []
    with pytest.raises(InputError, match="'premise' of the template is missing"):
        answerer.logits([{"hypothesis": "alone"}])
    return logits


def whole_prompts(scorer: Scorer, before: str) -> np.ndarray:
    """The label words' logits from whole texts, through the model's own head."""
    tokenizer = scorer.lm.text_tokenizer
    words = list(label_token_ids(tokenizer, TEMPLATE, "x").values())
    rows = []
    for fields in ROWS:
        ids = token_ids(tokenizer, before + TEMPLATE.render(fields), special=True)
        with torch.no_grad():
            rows.append(scorer.lm.model(torch.tensor([ids])).logits[0, -1, words].numpy())
    return np.array(rows)


@pytest.mark.parametrize("cached", [True, False])
def test_a_prompt_answers_as_its_whole_text_does(scorer: Scorer, cached: bool) -> None:
    answerer = prompted(scorer, SHOWN, 128, cached)
    expected = whole_prompts(scorer, SHOWN.render(TEMPLATE) + SEPARATOR)
    np.testing.assert_allclose(check(answerer, ROWS), expected, atol=1e-4)
    context = SHOWN.ids(scorer.lm.text_tokenizer, TEMPLATE)
    assert answerer.context_tokens == len(context)
    (query,) = answerer.encode(ROWS[:1])
    assert (query.ids[: len(context)] == context) is not cached


def test_without_demonstrations_it_is_asked_zero_shot(scorer: Scorer) -> None:
    for cached in (True, False):
        answerer = prompted(scorer, Demonstrations(), 128, cached)
        np.testing.assert_allclose(check(answerer, ROWS), whole_prompts(scorer, ""), atol=1e-4)
        assert answerer.context_tokens == 0


@pytest.mark.parametrize("cached", [True, False])
def test_the_same_model_goes_on_to_other_demonstrations(scorer: Scorer, cached: bool) -> None:
    other = Demonstrations(SHOWN.examples[::-1])
    moved = prompted(scorer, SHOWN, 128, cached).after(other)
    expected = prompted(scorer, other, 128, cached).logits(ROWS)
    np.testing.assert_array_equal(moved.logits(ROWS), expected)
    assert (moved.prefix is not None) is cached


def test_demonstrations_that_do_not_fit_are_refused(scorer: Scorer) -> None:
    with pytest.raises(Unsupported, match="lower --shots or --max-length"):
        prompted(scorer, Demonstrations(SHOWN.examples * 50), 128)


def test_every_prompt_is_run_once_and_the_longest_first(scorer: Scorer) -> None:
    answerer = Prompted(scorer, 128, rows=4)
    prompts = [one.ids for one in answerer.encode(ROWS)]
    places = [place for some, _ in answerer.run(prompts) for place in some]
    assert sorted(places) == list(range(len(ROWS)))
    lengths = [len(prompts[place]) for place in places]
    assert lengths == sorted(lengths, reverse=True)


def test_a_checkpoint_and_its_bundle_answer_alike(run: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(run / "checkpoint", TEMPLATE, 64, CPU)
    expected = check(checkpoint, ROWS)
    export_run(run, tmp_path / "bundle")
    predictor: Answerer = Predictor.load(tmp_path / "bundle", threads=1)
    np.testing.assert_allclose(check(predictor, ROWS), expected, atol=1e-4)
    pairs = zip(checkpoint.encode(ROWS), predictor.encode(ROWS), strict=True)
    assert all(one == other for one, other in pairs)


def test_a_checkpoint_of_other_labels_or_none_is_refused(run: Path, tmp_path: Path) -> None:
    other = PromptTemplate(tiny.TEMPLATE, {"yes": " True", "no": " False"})
    with pytest.raises(InputError, match="its labels are entailment, contradiction, and the task"):
        open_checkpoint(run / "checkpoint", other, 64, CPU)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_checkpoint(tmp_path)
