"""What every prompt starts with: found for certain, kept in the graph, the same on every device."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.formats.bundle import read_manifest, write_bundle
from edgecd.formats.manifest import MODEL
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.lm.models import LanguageModel
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.encoding import constant_prefix, encode_prompt
from edgecd.tasks.prompts import PromptTemplate
from edgecd.training.student import add_start, save_checkpoint
from tests import tiny
from tests.unit.test_vocabulary import MADE

MAX_LENGTH = 64
HEAD = "Classify the ticket. Text: "
TEMPLATE = PromptTemplate(f"{HEAD}{{premise}}\nAnswer:", tiny.LABELS)
REAL = ("smollm2-135m", "qwen2.5-0.5b")


# --- which tokens those are -----------------------------------------------------------------

TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "plain": cache(lambda: tiny.tiny_tokenizer().backend_tokenizer),
    "start": cache(lambda: tiny.tiny_tokenizer(bos=True).backend_tokenizer),
    "trained": cache(lambda: tiny.started(tiny.tiny_tokenizer()).backend_tokenizer),
    **MADE,
    **{name: cache(lambda name=name: real_tokenizer(name).backend_tokenizer) for name in REAL},
}
every_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
texts = st.text(max_size=20) | st.text(" \n\t.:'xX1é的", max_size=8)


def real_tokenizer(name: str) -> Any:
    if not (tiny.REAL_MODELS / name / "tokenizer.json").is_file():
        pytest.skip(f"needs the tokenizer of {name} in ~/.cache/edgecd-models")
    return tiny.started(transformers.AutoTokenizer.from_pretrained(tiny.REAL_MODELS / name))


def check_prefix(name: str, head: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]()
    literal = head.replace("{", "{{").replace("}", "}}")
    template = PromptTemplate(f"{literal}{{text}}\nAnswer:", tiny.LABELS)
    prefix = constant_prefix(tokenizer, template)
    ids = encode_prompt(tokenizer, template, {"text": text}, 4096).ids
    assert ids[: len(prefix)] == prefix


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(text=texts)
@pytest.mark.parametrize("head", ["", HEAD, "Text: ", "Review of a user. ", " ", "It is {so} "])
def test_every_prompt_starts_with_the_prefix(name: str, head: str, text: str) -> None:
    check_prefix(name, head, text)


@every_tokenizer
@settings(max_examples=60, deadline=None)
@given(head=texts, text=texts)
@example(head="Review:\n", text="good")
@example(head="Here is a review.\nReview:\n", text="\n\ngood")
@example(head="Review: x\n", text="good")
@example(head="Text:\n ", text="good")
def test_every_prompt_starts_with_the_prefix_whatever_the_template(
    name: str, head: str, text: str
) -> None:
    check_prefix(name, head, text)


@pytest.mark.parametrize("name", ["plain", "trained", *REAL])
def test_a_literal_head_is_part_of_the_prefix(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    start = constant_prefix(tokenizer, PromptTemplate("{premise}\nAnswer:", tiny.LABELS))
    prefix = constant_prefix(tokenizer, TEMPLATE)
    assert len(start) == (0 if name == "plain" else 2)
    assert prefix[: len(start)] == start
    assert tokenizer.decode(prefix[len(start) :]) == HEAD.rstrip()


# --- the start that training adds -----------------------------------------------------------


def ids_of(tokenizer: Any, text: str) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    ids: list[int] = backend.encode(text).ids
    return ids


def ending(tokenizer: Any) -> Any:
    """The tokenizer with an end token behind each text."""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def of_class(name: str) -> Any:
    """One of a class that writes its own post-processor when it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        MADE["byte_fallback_bpe"]().save(f"{folder}/tokenizer.json")
        named = {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "<s>"}
        config = json.dumps({**named, "unk_token": "<unk>", "pad_token": "<pad>"})
        Path(folder, "tokenizer_config.json").write_text(config, encoding="utf-8")
        Path(folder, "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        return transformers.AutoTokenizer.from_pretrained(folder)


MADE_STARTS: dict[str, tuple[Callable[[], Any], list[str], list[str]]] = {
    # what makes the tokenizer, its tokens in front of a text, and behind it
    "plain": (tiny.tiny_tokenizer, ["</s>", "Ċ"], []),
    "start": (lambda: tiny.tiny_tokenizer(bos=True), ["</s>", "Ċ"], []),
    "end": (lambda: ending(tiny.tiny_tokenizer()), ["</s>", "Ċ"], ["</s>"]),
    "llama": (lambda: of_class("LlamaTokenizer"), ["<s>", "▁", "<0x0A>"], []),
    "gemma": (lambda: of_class("GemmaTokenizer"), ["<s>", "<0x0A>"], []),
    "smollm2-135m": (lambda: unstarted("smollm2-135m"), ["<|im_start|>", "Ċ"], []),
    "qwen2.5-0.5b": (lambda: unstarted("qwen2.5-0.5b"), ["<|endoftext|>", "Ċ"], []),
}


def unstarted(name: str) -> Any:
    real_tokenizer(name)
    return transformers.AutoTokenizer.from_pretrained(tiny.REAL_MODELS / name)


@pytest.mark.parametrize("name", MADE_STARTS)
def test_one_start_token_and_a_newline_are_added(name: str) -> None:
    make, front, behind = MADE_STARTS[name]
    before = make()
    inner = before.backend_tokenizer.encode("A cat sits.", add_special_tokens=False).tokens
    tokenizer = tiny.started(before)
    tokens = tokenizer.backend_tokenizer.encode("A cat sits.").tokens
    assert tokens[1:] == [*front[1:], *inner, *behind]
    assert tokens[0] == front[0] or name in REAL  # which of its tokens is the model's own business
    assert tokens[0] in tokenizer.all_special_tokens
    plain = tokenizer.backend_tokenizer.encode("A cat sits.", add_special_tokens=False).tokens
    assert plain == inner, "a query after demonstrations has no start"


@pytest.mark.parametrize("name", MADE_STARTS)
def test_a_saved_tokenizer_starts_prompts_as_in_training(name: str, tmp_path: Path) -> None:
    tokenizer = tiny.started(MADE_STARTS[name][0]())
    samples = ["A cat sits.", "\n\nx", " ", "", "naïve 漢字 🙂 </s>"]
    expected = [ids_of(tokenizer, text) for text in samples]
    save_checkpoint(tiny.tiny_classifier("llama", 100), tokenizer, tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    file = load_tokenizer(tmp_path / "tokenizer.json")
    assert [again(text)["input_ids"] for text in samples] == expected
    assert [ids_of(again, text) for text in samples] == expected
    assert [ids_of(file, text) for text in samples] == expected


def test_a_tokenizer_without_any_start_token_gets_the_newline() -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    add_start(LanguageModel("tiny", None, tokenizer, ""))  # type: ignore[arg-type]
    assert tokenizer.backend_tokenizer.encode("x").tokens == ["Ċ", "x"]


# --- bundles --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefix") / "run"
    return tiny.tiny_run(
        folder, request.param, heldout=40, max_length=MAX_LENGTH, template=TEMPLATE.text
    )


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    done = export_run(run, run.parent / "fp32", ExportConfig(max_flips=0.0))
    assert done["prefix_tokens"] > 2
    return run.parent / "fp32"


def checkpoint_logits(run: Path, rows: list[dict[str, str]]) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "checkpoint")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "checkpoint").backend_tokenizer
    prompts = [encode_prompt(tokenizer, TEMPLATE, row, MAX_LENGTH).ids for row in rows]
    with torch.inference_mode():
        return np.stack([model.eval()(torch.tensor([ids])).logits[0].numpy() for ids in prompts])


def test_a_bundle_with_a_folded_head_answers_as_the_checkpoint(run: Path, bundle: Path) -> None:
    odd = [".", " .", "\n\n.", "naïve 漢字 🙂", "a" * 300, "</s> <pad>"]
    rows = [{"premise": text} for text in [*odd, *(tiny.sentence(n) for n in range(20))]]
    predictor = Predictor.load(bundle, threads=1)
    prefix = predictor.manifest.prefix_ids
    assert predictor.tokenizer.decode(list(prefix[2:])) == HEAD.rstrip()
    np.testing.assert_allclose(predictor.logits(rows), checkpoint_logits(run, rows), atol=1e-4)


def test_int8_is_made_and_run_with_the_prefix(run: Path, bundle: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "int8", ExportConfig(precision="int8", max_flips=100.0))
    assert read_manifest(tmp_path / "int8").prefix_ids == read_manifest(bundle).prefix_ids
    rows = [{"premise": tiny.sentence(n)} for n in range(20)]
    found = Predictor.load(tmp_path / "int8", threads=1).logits(rows)
    assert tiny.relative_error(found, checkpoint_logits(run, rows)) < 0.25


def rewritten(bundle: Path, out: Path, tokenizer: str | None = None, **changes: Any) -> Path:
    manifest = replace(read_manifest(bundle), **changes)
    text = tokenizer or (bundle / "tokenizer.json").read_text(encoding="utf-8")
    write_bundle(out, manifest, bundle / MODEL, text)
    return out


def test_a_tokenizer_that_does_not_give_the_prefix_is_refused(bundle: Path, tmp_path: Path) -> None:
    plain = tiny.tiny_tokenizer().backend_tokenizer.to_str()
    for number, (tokenizer, changes) in enumerate(
        [(plain, {}), (None, {"prefix_ids": (1, 1)}), (None, {"template": "{premise}\nAnswer:"})]
    ):
        out = rewritten(bundle, tmp_path / str(number), tokenizer, samples=(), **changes)
        with pytest.raises(InputError, match="do not belong together"):
            Predictor.load(out, threads=1).predict("A cat sits.")


def test_an_empty_prompt_is_a_clear_error(tmp_path: Path) -> None:
    bare = PromptTemplate("{premise}", tiny.LABELS)
    run = tiny.tiny_run(tmp_path / "run", heldout=8, template=bare.text)
    export_run(run, tmp_path / "out")
    predictor = Predictor.load(tmp_path / "out", threads=1)
    for empty in ("", " \n"):
        with pytest.raises(InputError, match="the input is empty"):
            predictor.predict(empty)
    with pytest.raises(InputError, match="the input is empty"):
        predictor.predict_batch(["A cat.", ""])
    assert predictor.predict(" .").label in tiny.LABELS


@pytest.mark.parametrize("start", [True, False])
def test_an_empty_held_out_prompt_is_a_clear_error(tmp_path: Path, start: bool) -> None:
    tokenizer = tiny.tiny_tokenizer()
    run = tiny.tiny_run(
        tmp_path / "run",
        heldout=8,
        template="{premise}",
        tokenizer=tiny.started(tokenizer) if start else tokenizer,
    )
    lines = (run / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    lines.insert(1, '{"fields": {"premise": ""}, "label": null}')
    (run / "heldout.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match="empty"):
        export_run(run, tmp_path / "out")
