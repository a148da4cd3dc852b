"""Folding, adapting and merging keep the language model's own label logits."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from edgecd.errors import InputError
from edgecd.lm.fold import fold
from edgecd.lm.models import load_language_model
from edgecd.lm.rows import classifier_logits
from edgecd.tasks.encoding import encode_prompt, label_token_ids
from edgecd.tasks.prompts import PromptTemplate
from edgecd.training.student import add_adapter, merge, save_checkpoint
from tests import tiny

TEMPLATE = PromptTemplate(
    "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:",
    {"entailment": " True", "contradiction": " False"},
)


@pytest.fixture(params=tiny.FUSED)
def lm(request, tmp_path):
    tokenizer = tiny.tiny_tokenizer()
    model = tiny.tiny_causal_lm(request.param, len(tokenizer))
    tiny.save_model(model, tokenizer, tmp_path / "lm")
    return load_language_model(str(tmp_path / "lm"), torch.device("cpu"), torch.float32)


def prompts_of(lm, count=9):
    return [
        encode_prompt(lm.text_tokenizer, TEMPLATE, row["fields"], 128)
        for row in tiny.examples(count)
    ]


def language_model_logits(lm, prompts):
    tokens = list(label_token_ids(lm.text_tokenizer, TEMPLATE, lm.name).values())
    with torch.no_grad():
        rows = [lm.model(input_ids=torch.tensor([p.ids])).logits[0, -1, tokens] for p in prompts]
    return torch.stack(rows).numpy()


def perturb(model):
    """Give the adapter something to merge."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def test_folded_logits_are_the_language_models_own(lm):
    prompts = prompts_of(lm)
    expected = language_model_logits(lm, prompts)
    folded = fold(lm, TEMPLATE)
    got = classifier_logits(folded, prompts, 4)
    assert abs(got - expected).max() < 1e-5
    assert folded.config.id2label == {0: "entailment", 1: "contradiction"}
    assert type(folded).__name__.endswith("ForSequenceClassification")


@pytest.mark.parametrize("adapter", ["lora", "bitfit", "full"])
def test_merged_equals_unmerged_and_survives_saving(lm, adapter, tmp_path):
    from transformers import pipeline

    folded = fold(lm, TEMPLATE)
    if adapter == "bitfit" and folded.config.model_type in ("llama", "qwen3", "gemma3_text"):
        with pytest.raises(InputError, match=r"none: use --adapter lora"):
            add_adapter(folded, adapter, 4)
        return
    prompts = prompts_of(lm)
    before = classifier_logits(folded, prompts, 4)
    training = add_adapter(folded, adapter, 4)
    perturb(training)
    unmerged = classifier_logits(training, prompts, 4)
    assert abs(unmerged - before).max() > 1e-3
    merged = merge(training)
    assert abs(classifier_logits(merged, prompts, 4) - unmerged).max() < 1e-5
    save_checkpoint(merged, lm.tokenizer, tmp_path / "checkpoint")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    assert abs(classifier_logits(loaded.eval(), prompts, 4) - unmerged).max() < 1e-5
    names = {path.suffix for path in (tmp_path / "checkpoint").iterdir()}
    assert not names & {".bin", ".pt", ".pkl"}

    fields = tiny.examples(1)[0]["fields"]
    answer = pipeline("text-classification", model=str(tmp_path / "checkpoint"))(
        TEMPLATE.render(fields)
    )
    expected = TEMPLATE.labels[int(unmerged[0].argmax())]
    assert answer[0]["label"] == expected


def test_a_checkpoint_names_its_rotary_base_for_older_readers_too(tmp_path):
    """transformers 4 looks for it at the top level, and takes its default when it is not there."""
    rope = {"rope_type": "default", "rope_theta": 54321.0}
    model = tiny.tiny_classifier("llama", 100, rope_parameters=rope, rope_theta=54321.0)
    save_checkpoint(model, tiny.tiny_tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == 54321.0
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    batch = tiny.padded_batch(4, 30, 100)
    expected = tiny.torch_logits(model, batch)
    assert abs(tiny.torch_logits(loaded, batch) - expected).max() < 1e-5
    default = tiny.tiny_classifier("llama", 100)
    assert abs(tiny.torch_logits(default, batch) - expected).max() > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_a_checkpoint_without_rotary_embeddings_names_no_base(family, tmp_path):
    save_checkpoint(tiny.tiny_classifier(family, 100), tiny.tiny_tokenizer(), tmp_path)
    assert "rope_theta" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))


def test_lora_trains_nothing_but_low_rank_updates_of_every_linear_layer(lm):
    folded = fold(lm, TEMPLATE)
    kinds = ("Linear", "Conv1D")
    linear = [n for n, m in folded.named_modules() if type(m).__name__ in kinds and n != "score"]
    training = add_adapter(folded, "lora", 4)
    names = [name for name, p in training.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name in names)
    assert len(names) == 2 * len(linear)


def test_a_head_that_is_more_than_a_matrix_is_refused(lm):
    head = lm.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.ones(head.weight.shape[0]))
    with pytest.raises(InputError, match="more than a matrix"):
        fold(lm, TEMPLATE)
