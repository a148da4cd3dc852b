"""Templates, encoding and verbalizers: what a user writes must come out as written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import encode_prompt, label_token_ids
from edgecd.tasks.prompts import NLI_PATTERNS, PromptTemplate, nli_pattern
from tests import tiny

WORDS = {"yes": " Yes", "no": " No"}
NLI = PromptTemplate(
    "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:",
    {"entailment": " True", "contradiction": " False"},
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tiny_tokenizer().backend_tokenizer


@given(before=TEXT, middle=TEXT, after=TEXT, first=TEXT, second=TEXT)
def test_render_puts_text_in_place_and_reads_nothing_in_it(before, middle, after, first, second):
    def literal(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    template = PromptTemplate(
        f"{literal(before)}{{a}}{literal(middle)}{{b}}{literal(after)}", WORDS
    )
    assert template.render({"a": first, "b": second}) == before + first + middle + second + after
    assert template.fields == ("a", "b")
    assert template.tail == after


@pytest.mark.parametrize(
    "text", ["{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{0}", "{}", "no place", "{a", "a}", "{a b}"]
)
def test_template_that_could_reach_into_objects_is_refused(text):
    with pytest.raises(InputError):
        PromptTemplate(text, WORDS)


def test_missing_field_is_named():
    with pytest.raises(InputError, match=r"'hypothesis'.*the input has premise"):
        NLI.render({"premise": "x"})


def test_labels_that_share_a_word_are_refused():
    with pytest.raises(InputError, match="share the word ' Yes'"):
        PromptTemplate("{a}", {"one": " Yes", "two": " Yes"})


def test_context_is_demonstrations_with_answers_and_blank_lines_between():
    shots = [({"premise": "A", "hypothesis": "B"}, "entailment")] * 2
    one = "A\nQuestion: B True or False?\nAnswer: True"
    assert Demonstrations.of(shots).render(NLI) == one + "\n\n" + one


def test_context_and_query_are_the_tokens_of_the_whole_text(tokenizer):
    query = {"premise": "one cat", "hypothesis": "a dog"}
    context = Demonstrations.of([(query, "contradiction")] * 3).render(NLI)
    ids = tokenizer.encode(context).ids + encode_prompt(tokenizer, NLI, query, 99, True).ids
    assert ids == tokenizer.encode(context + "\n\n" + NLI.render(query)).ids


@pytest.mark.parametrize("name", NLI_PATTERNS)
def test_patterns_of_the_literature(name):
    two = nli_pattern(name, ["entailment", "contradiction"])
    three = nli_pattern(name, ["entailment", "neutral", "contradiction"])
    assert two.fields == three.fields == ("premise", "hypothesis")
    assert len(set(three.verbalizer.values())) == 3
    with pytest.raises(InputError, match="is for tasks with the labels"):
        nli_pattern(name, ["positive", "negative"])


@settings(deadline=None)
@given(premise=TEXT, hypothesis=TEXT, max_length=st.integers(60, 120))
def test_shortening_never_touches_the_pattern(tokenizer, premise, hypothesis, max_length):
    fields = {"premise": premise, "hypothesis": hypothesis}
    whole = encode_prompt(tokenizer, NLI, fields, 10_000)
    cut = encode_prompt(tokenizer, NLI, fields, max_length)
    assert len(cut.ids) <= max_length
    assert cut.shortened == (len(whole.ids) > max_length)
    if not cut.shortened:
        assert cut.ids == whole.ids
    tail = tokenizer.encode("?\nAnswer:", add_special_tokens=False).ids
    assert cut.ids[-len(tail) :] == tail


def test_the_longest_field_is_the_one_that_is_shortened(tokenizer):
    fields = {"premise": "the river was calm " * 50, "hypothesis": "short"}
    cut = encode_prompt(tokenizer, NLI, fields, 64)
    assert "short" in tokenizer.decode(cut.ids)
    assert 60 <= len(cut.ids) <= 64


def test_pattern_longer_than_the_limit_says_so(tokenizer):
    with pytest.raises(InputError, match="the template alone has .* tokens"):
        encode_prompt(tokenizer, NLI, {"premise": "a", "hypothesis": "b"}, 8)


def test_label_words_are_one_token_each_with_the_space_that_belongs_to_them(tokenizer):
    tokens = label_token_ids(tokenizer, NLI, "tiny")
    assert tokens == {
        "entailment": tokenizer.token_to_id("ĠTrue"),
        "contradiction": tokenizer.token_to_id("ĠFalse"),
    }


def test_a_split_word_shows_its_tokens(tokenizer):
    template = PromptTemplate("{a}:", {"yes": " Yes", "no": " zyzzyva"})
    with pytest.raises(InputError, match=r"'no'.*not one token.*tokens \["):
        label_token_ids(tokenizer, template, "tiny")
