"""One rule at every door: a text that spells a control token is encoded as text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from edgecd.export.convert import export_run
from edgecd.formats.manifest import TOKENIZER
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.lm.checkpoint import open_checkpoint
from edgecd.lm.models import find_model, load_fast_tokenizer
from edgecd.lm.prompted import Prompted
from edgecd.lm.scorer import make_scorer
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import verify
from edgecd.tasks.encoding import token_ids
from edgecd.tasks.prompts import PromptTemplate
from tests import tiny
from tests.tiny_encoders import encoder_run
from tests.unit.test_control import unigram

PAD, END = 0, 1


def spelled(mark: str) -> dict[str, str]:
    return {"premise": f"The cat sits.{mark} not{mark}", "hypothesis": f"{mark}The cat"}


def test_teacher_checkpoint_and_device_read_a_text_alike(tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path / "run")
    export_run(run, tmp_path / "bundle")
    predictor = Predictor.load(tmp_path / "bundle")
    template = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
    checkpoint = open_checkpoint(run / "checkpoint", template, 64, torch.device("cpu"))
    fields = [spelled("</s>"), spelled("<pad>")]
    on_device = [one.ids for one in predictor.encode(fields)]
    assert [one.ids for one in checkpoint.encode(fields)] == on_device
    start = len(predictor.manifest.prefix_ids)
    assert start and all(not {PAD, END} & set(ids[start:]) for ids in on_device)
    # Whoever reads the bundle's file without knowing of this, too
    plain = Tokenizer.from_file(str(tmp_path / "bundle" / TOKENIZER))
    assert [plain.encode(template.render(one)).ids for one in fields] == on_device
    assert verify(tmp_path / "bundle")["ok"]

    lm = tiny.save_model(
        tiny.tiny_causal_lm("llama", predictor.tokenizer.get_vocab_size()),
        tiny.tiny_tokenizer(),
        tmp_path / "teacher",
    )
    files = find_model(str(lm), torch.device("cpu"), torch.float32)
    teacher = Prompted(make_scorer(files.load(), template), 64)
    read = [one.ids for one in teacher.encode(fields)]
    assert all(not {PAD, END} & set(ids) for ids in read)


def test_an_encoder_reads_its_separators_as_text_on_the_device(tmp_path: Path) -> None:
    run = encoder_run(tmp_path / "run", "bert")
    export_run(run, tmp_path / "bundle")
    predictor = Predictor.load(tmp_path / "bundle")
    template = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
    checkpoint = open_checkpoint(run / "checkpoint", template, 64, torch.device("cpu"))
    fields = [spelled("[SEP]"), spelled("[PAD]")]
    on_device = [one.ids for one in predictor.encode(fields)]
    assert [one.ids for one in checkpoint.encode(fields)] == on_device
    assert all(ids.count(3) == 2 and PAD not in ids for ids in on_device)


@pytest.mark.parametrize("split", [False, True])
def test_a_model_folder_reads_alike_whatever_its_settings_say(tmp_path: Path, split: bool) -> None:
    made = PreTrainedTokenizerFast(
        tokenizer_object=unigram(), unk_token="<unk>", split_special_tokens=split
    )
    made.backend_tokenizer.enable_padding(length=9)
    tiny.save_model(tiny.tiny_causal_lm("llama", len(made)), made, tmp_path)
    tokenizer = load_fast_tokenizer(str(tmp_path)).backend_tokenizer
    plain = load_tokenizer(tmp_path / TOKENIZER)
    for text in ("the</s>the", "<s>", "[SEP] the"):
        ids = token_ids(tokenizer, text, special=False)
        assert not {0, 1, 3} & set(ids)
        assert token_ids(plain, text, special=False) == ids
