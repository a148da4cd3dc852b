"""Demonstrations: one text, one way to token ids, one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecd.errors import InputError
from edgecd.tasks.demonstrations import (
    Demonstrations,
    calibration_inputs,
    read_demonstrations,
    read_labelled,
    write_demonstrations,
)
from edgecd.tasks.encoding import token_ids
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Example
from tests import tiny

TEMPLATE = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
EXAMPLES = tuple(Example(row["id"], row["fields"], row["label"]) for row in tiny.examples(6))
SHOWN = Demonstrations(EXAMPLES[:3])


@pytest.fixture(scope="module", params=[True, False])
def tokenizer(request):
    return tiny.tiny_tokenizer(bos=request.param).backend_tokenizer


def test_the_ids_are_those_of_the_rendered_text(tokenizer):
    whole = token_ids(tokenizer, SHOWN.render(TEMPLATE), special=True)
    assert SHOWN.ids(tokenizer, TEMPLATE) == whole
    assert SHOWN.ids(tokenizer, TEMPLATE, limit=len(whole)) == whole
    assert Demonstrations().ids(tokenizer, TEMPLATE) == []
    assert Demonstrations().ids(tokenizer, TEMPLATE, limit=9) == []


def test_of_too_many_the_first_ones_are_taken_whole(tokenizer):
    whole = SHOWN.ids(tokenizer, TEMPLATE)
    first = Demonstrations(EXAMPLES[:2]).ids(tokenizer, TEMPLATE)
    assert SHOWN.ids(tokenizer, TEMPLATE, limit=len(whole) - 1) == first
    assert SHOWN.ids(tokenizer, TEMPLATE, limit=3) == first[:3]


def test_an_unknown_label_is_named():
    strange = Demonstrations.of([(EXAMPLES[0].fields, "maybe")])
    with pytest.raises(InputError, match="'maybe' of a demonstration is not one of entailment"):
        strange.render(TEMPLATE)


def test_plain_ones_survive_json():
    carried = Demonstrations.of(json.loads(json.dumps(SHOWN.plain)))
    assert carried.plain == SHOWN.plain
    assert carried.render(TEMPLATE) == SHOWN.render(TEMPLATE)


def test_a_file_keeps_every_draw_and_gives_the_first(tmp_path: Path):
    write_demonstrations(tmp_path, [SHOWN, Demonstrations(EXAMPLES[3:])])
    lines = [json.loads(line) for line in (tmp_path / "demonstrations.jsonl").open()]
    assert [line["draw"] for line in lines] == [0, 0, 0, 1, 1, 1]
    assert set(lines[0]) == {"draw", "id", "fields", "label"}
    assert read_demonstrations(tmp_path) == SHOWN
    assert read_demonstrations(tmp_path / "elsewhere") is None


def test_all_labels_of_a_run_are_those_of_every_draw_each_once(tmp_path: Path):
    write_demonstrations(tmp_path, [SHOWN, Demonstrations((EXAMPLES[4], *EXAMPLES[:2]))])
    assert read_labelled(tmp_path) == Demonstrations((*SHOWN, EXAMPLES[4]))
    assert read_labelled(tmp_path / "elsewhere") is None


def test_what_is_shown_does_not_calibrate():
    inputs = calibration_inputs(EXAMPLES, SHOWN, seed=0)
    assert sorted(x["premise"] for x in inputs) == sorted(
        example.fields["premise"] for example in EXAMPLES[3:]
    )
