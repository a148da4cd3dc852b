"""What a file of rows may be a task about: columns, words, templates, and a part to test on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.tasks.cut import clean, label_names, split_off, usable_labels, without
from edgecd.tasks.draft import choose_label, choose_texts, columns_of, refuse_header_of_data
from edgecd.tasks.encoding import label_token_ids
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.words import field_names, propose
from tests import tiny


def table(rows=40, **columns):
    """Rows whose columns are made by functions of their number."""
    return [{name: make(number) for name, make in columns.items()} for number in range(rows)]


def sentence(number):
    return f"a message of number {number} with some words"


def spam(number):
    return ["spam", "ham"][number % 2]


@pytest.mark.parametrize(
    ("columns", "texts", "label"),
    [
        ({"text": sentence, "label": spam}, ("text",), "label"),
        ({"v1": spam, "v2": sentence}, ("v2",), "v1"),
        ({"ID": lambda n: f"id {n} x", "Tweet": sentence, "Class": spam}, ("Tweet",), "Class"),
        (
            {"body": sentence, "title": sentence, "stars": lambda n: n % 5, "date": sentence},
            ("title", "body"),
            "stars",
        ),
        ({"sentence2": sentence, "sentence1": sentence, "gold": spam}, None, "gold"),
        ({"words": lambda n: f"w{n} x", "is_ok": lambda n: n % 3 == 0}, ("words",), "is_ok"),
        ({"Nachricht": sentence, "Thema": spam, "Preis": lambda n: n * 1.5}, None, "Thema"),
    ],
)
def test_columns_are_found_by_name_and_by_what_they_hold(columns, texts, label):
    seen = columns_of(table(**columns))
    choice = choose_label(seen)
    assert choice.sure and choice.columns[0] == label
    found = choose_texts(seen, label)
    assert found.sure
    if texts is not None:
        assert found.columns == texts


def test_what_is_as_likely_as_another_is_not_sure():
    columns = columns_of(table(a=sentence, b=lambda n: sentence(-n), x=spam, y2=lambda n: n % 3))
    assert choose_label(columns) == choose_label(columns, ())
    assert not choose_label(columns).sure and set(choose_label(columns).columns) == {"x", "y2"}
    assert not choose_texts(columns, "x").sure
    assert choose_label(columns_of(table(text=sentence)), ()).columns == ()


def test_a_first_line_of_data_is_no_header():
    columns = columns_of(table(**{"a dull film": sentence, "spam": spam}))
    with pytest.raises(InputError, match="first line seems to be data"):
        refuse_header_of_data(columns, ["ham", " Spam"], "spam")
    refuse_header_of_data(columns, ["yes", "no", None, 3], "spam")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tiny_tokenizer().backend_tokenizer


@pytest.mark.parametrize(
    ("labels", "words", "letters"),
    [
        (["positive", "negative"], [" positive", " negative"], ()),
        (["Yes", "NO"], [" Yes", " no"], ()),
        (["so_positive", "negative_one"], [" positive", " negative"], ()),
        (["negative", "not negative"], [" yes", " no"], ()),
        (["1 star", "2 stars"], ["1", "2"], ()),
        (["a no", "b no"], ["A", "B"], ("a no", "b no")),
        (["zebra", "positive"], ["A", " positive"], ("zebra",)),
        (["pos", "neg"], [" positive", " negative"], ()),
    ],
)
def test_words_are_one_token_and_no_two_labels_share_one(tokenizer, labels, words, letters):
    found = propose(labels, ["text"], "label", [tokenizer])
    assert (list(found.words.values()), found.letters, found.checked) == (words, letters, True)
    tokens = label_token_ids(tokenizer, PromptTemplate(found.template, found.words), "tiny")
    assert len(set(tokens.values())) == len(labels)


def test_labels_without_words_take_letters_and_few_are_explained(tokenizer):
    few = propose(["qq ww", "zz {x}"], ["text"], "kind", [tokenizer])
    assert few.template == "Answer A for qq ww, B for zz {{x}}.\nText: {text}\nKind:"
    assert PromptTemplate(few.template, few.words).fields == ("text",)
    many = propose([f"qq{n}" for n in range(40)], ["text"], "label", [tokenizer])
    assert len(set(many.words.values())) == 40 == len(many.letters)
    assert many.template == "Text: {text}\nCategory:"
    with pytest.raises(InputError, match="no word of one token is left"):
        propose([f"qq{n}" for n in range(99)], ["text"], "label", [tokenizer])


def test_templates_name_texts_and_label_as_the_file_does():
    assert propose(["a", "b"], ["title", "body"], "stars", []).template == (
        "Title: {title}\nBody: {body}\nStars:"
    )
    feelings = propose(["positive", "negative"], ["review"], "v1", [])
    assert feelings.template == "Review: {review}\nSentiment:" and not feelings.checked
    yes_no = propose(["same", "not_same"], ["text_a", "text_b"], "label", [])
    assert yes_no.template == "Text a: {text_a}\nText b: {text_b}\nSame?"
    assert yes_no.words == {"same": " yes", "not_same": " no"}
    pairs = propose(["entailment", "not_entailment"], ["premise", "hypothesis"], "label", [])
    assert pairs.template == "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:"
    assert list(pairs.words.values()) == [" True", " False"]


def test_columns_have_names_that_a_template_can_hold():
    found = field_names(["Customer Message", "label", "customer-message", "2nd", "Größe", "…"])
    assert list(found.values()) == [
        "customer_message",
        "text",
        "text_3",
        "text_4",
        "größe",
        "text_6",
    ]


def test_rows_are_cleaned_and_each_change_is_told():
    rows = [
        *({"t": f"good {n} ", "y": ["Good", "good ", "good", "good"][n % 4]} for n in range(8)),
        *({"t": f"bad {n}", "y": "bad"} for n in range(4)),
        *({"t": "bad 1", "y": "bad"}, {"t": "  ", "y": "bad"}, {"t": "free", "y": None}),
        {"t": "odd", "y": "odd"},
    ]
    names = label_names((row["y"] for row in rows), "y")
    found = clean(rows, {"t": "text"}, "y", names)
    labels = usable_labels(found, "y")
    assert labels == ["good", "bad"]
    kept = found.of(labels)
    assert kept.labels == {"good": 8, "bad": 4}
    assert kept.rows[0] == {"text": "good 0", "label": "good"}
    assert kept.notes == (
        "1 row without a text left out",
        "1 row that repeat another left out",
        "labels written in one way: 'Good', 'good ' as 'good'",
        "1 row without a label kept, to distil on",
        "labels of too few rows left out: 'odd'",
    )


def test_what_cannot_be_labels_is_refused():
    with pytest.raises(InputError, match="the column 'y': the label is of type list"):
        label_names([["a"]], "y")
    rows = [{"t": str(n), "y": str(n)} for n in range(9)]
    found = clean(rows, {"t": "text"}, "y", label_names((row["y"] for row in rows), "y"))
    with pytest.raises(InputError, match=r"'y' has 0 labels with 2 rows or more \(of 9 in 9 rows"):
        usable_labels(found, "y")


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=5),
    share=st.floats(0.01, 0.9),
    twice=st.booleans(),
)
def test_the_test_part_is_stratified_and_shares_no_text(counts, share, twice):
    rows = [
        {"text": f"{label} {number}", "label": f"l{label}"}
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    rows.append({"text": "free", "label": None})
    if twice:
        rows.append({"text": "0 0", "label": "l1"})
    train, test = split_off(rows, share)
    assert (train, test) == split_off(rows, share)
    assert sorted(map(str, train + test)) == sorted(map(str, rows))
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    parts = [Counter(row["label"] for row in part) for part in (train, test)]
    for label, count in enumerate(counts):
        single = count - (twice and label == 0)
        if single >= 2:
            assert min(part[f"l{label}"] for part in parts) >= 1
            assert abs(parts[1][f"l{label}"] - share * single) <= 1
    assert parts[1][None] == 0


def test_a_large_file_gives_a_test_part_of_two_thousand():
    rows = [{"text": str(n), "label": "ab"[n % 2]} for n in range(30_000)]
    train, test = split_off(rows, 0.2)
    assert len(test) == 2_000 and len(train) == 28_000
    assert len(without(rows, test)) == 28_000
