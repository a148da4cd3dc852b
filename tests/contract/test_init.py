"""`edgecd init`: from a file as people have it to a task that `check` and `train` accept."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

pytest.importorskip("peft")

from edgecd.cli.options import app
from edgecd.errors import EdgecdError, InputError
from edgecd.tasks.survey import survey
from edgecd.tasks.task import load_task
from edgecd.training import start
from edgecd.training.start_config import StartConfig
from tests import tiny
from tests.tiny_encoder_folders import encoder_folder

MESSY = (
    "\ufeffReview;Sentiment ;\r\n"
    + "".join(
        f'"a film, number {n}, was {"lovely" if n % 2 else "dull"}";'
        f"{['negative', 'Positive', 'NEGATIVE', 'positive '][n % 4]};\r\n"
        for n in range(40)
    )
    + ';positive;\r\n"a film, number 1, was lovely";positive;\r\n'
    "nobody knows;;\r\none odd label;meh;\r\n;;\r\n"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        tokenizer = tiny.tiny_tokenizer()
        model = tiny.tiny_causal_lm(family, len(tokenizer), max_position_embeddings=2048)
        tiny.save_model(model, tokenizer, root / name)
    encoder_folder(root / "encoder", max_position_embeddings=300)
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edgecd(*arguments, stdin=None, terminal=False, code=0, monkeypatch=None):
    """Run a command in this process; returns what it printed."""
    if terminal:
        monkeypatch.setattr("edgecd.cli.starting._is_terminal", lambda: True)
    done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
    if isinstance(done.exception, EdgecdError):
        assert done.exception.exit_code == code, done.exception
        return str(done.exception)
    assert done.exit_code == code and "Traceback" not in done.output, done.output
    return done.output


def rows(name):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


@pytest.mark.parametrize("student", ["student", "encoder"])
def test_a_messy_file_becomes_a_task_that_check_accepts(here, models, student):
    (here / "data.csv").write_bytes(MESSY.encode())
    asked = ["--teacher", models / "teacher", "--student", models / student]
    said = edgecd("init", "data.csv", "--yes", *asked)
    for note in ("1 row without a text", "1 row that repeat", "'NEGATIVE'", "'meh'", "one token"):
        assert note in said
    task = load_task("task.toml")
    assert task.template.text == "Review: {review}\nSentiment:"
    assert task.template.verbalizer == {"negative": " negative", "positive": " positive"}
    train, test = rows("data.train.jsonl"), rows("data.test.jsonl")
    assert len(train) == 33 and len(test) == 8
    assert {row["label"] for row in test} == {"negative", "positive"}
    found = json.loads(edgecd("check", "--json", "--no-estimate"))
    assert found["ok"] and found["overlaps"] == [] and found["remarks"] == []
    assert [one["reads"] for one in found["models"]] == [
        "prompt",
        "prompt" if student == "student" else "text",
    ]


def test_what_it_writes_can_be_trained_at_once(here, models):
    (here / "data.csv").write_bytes(MESSY.encode())
    asked = ["--teacher", models / "teacher", "--student", models / "student"]
    edgecd("init", "data.csv", "--yes", *asked)
    edgecd("train", "--epochs", "1", "--context-draws", "1", "--device", "cpu")
    run = json.loads((here / "runs" / "data" / "run.json").read_text())
    assert run["status"] == "done" and run["shots"] == 16 and run["examples"]["heldout"] == 8


def test_two_columns_of_plain_csv_and_models_that_are_not_there(here):
    lines = [f"a message of number {n},{'spam' if n % 2 else 'ham'}" for n in range(20)]
    (here / "data.csv").write_text("\n".join(["v2,v1", *lines]))
    said = edgecd("init", "data.csv", "--yes", "--json")
    made = json.loads(said)
    assert made["columns"] == {"texts": ["v2"], "label": "v1"}
    assert made["checked_with"] == [] and len(made["notes"]) == 2
    assert "not tried with the models" in Path("task.toml").read_text()
    assert 'teacher = "facebook/opt-1.3b"' in Path("edgecd.toml").read_text()
    assert "nothing to mend" in edgecd("check", "task.toml")


def test_nothing_that_is_there_is_replaced_without_force(here, models):
    (here / "data.csv").write_bytes(MESSY.encode())
    asked = ["init", "data.csv", "--yes", "--teacher", models / "teacher"]
    asked += ["--student", models / "student"]
    (here / "task.toml").write_text("mine")
    assert "task.toml already there" in edgecd(*asked, code=2)
    assert sorted(path.name for path in here.iterdir()) == ["data.csv", "task.toml"]
    edgecd(*asked, "--force")
    assert load_task("task.toml").name == "data"
    again = {path.name: path.read_bytes() for path in here.iterdir()}
    edgecd(*asked, "--force")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == again


def test_a_test_file_beside_it_is_found_and_never_trained_on(here):
    train = [{"text": f"one {n} text", "label": "ab"[n % 2]} for n in range(20)]
    test = [{"text": f"one {n} text", "label": "AB"[n % 2]} for n in range(16, 26)]
    tiny.write_jsonl(here / "mail.train.jsonl", train)
    tiny.write_jsonl(here / "mail.test.jsonl", test)
    made = start.draft(here / "mail.train.jsonl", StartConfig(name="mail"), start_decide)
    assert (made.train, made.test) == (16, 10)
    assert any("mail.test.jsonl is what it is tested on" in note for note in made.notes)
    assert {row["label"] for row in made.files["mail-train.test.jsonl"]} == {"a", "b"}
    with pytest.raises(InputError, match="no column 'label'"):
        tiny.write_jsonl(here / "other.jsonl", [{"text": "a", "Label": "b"}])
        asked = StartConfig(test=here / "other.jsonl")
        start.draft(here / "mail.train.jsonl", asked, start_decide)


def start_decide(what, flag, choice):
    return choice.columns if flag == "--text-columns" and choice.sure else choice.columns[:1]


UNSURE = [
    {"first": f"one {n} text", "second": f"other {n} text", "x": "ab"[n % 2], "y2": n % 3}
    for n in range(30)
]


def test_without_a_terminal_what_is_unsure_is_an_error_that_says_the_option(here):
    tiny.write_jsonl(here / "rows.jsonl", UNSURE)
    assert "--label-column" in edgecd("init", "rows.jsonl", code=2)
    said = edgecd("init", "rows.jsonl", "--label-column", "x", code=2)
    assert "the texts may be in second, first: say where with --text-columns" in said
    assert "did you mean 'first'" in edgecd("init", "rows.jsonl", "--text-columns", "frist", code=2)
    edgecd("init", "rows.jsonl", "--label-column", "x", "--text-columns", "first,second")
    assert load_task("task.toml").template.text == "First: {first}\nSecond: {second}\nCategory:"


def test_in_a_terminal_it_asks_and_writes_what_was_confirmed(here, monkeypatch):
    tiny.write_jsonl(here / "rows.jsonl", UNSURE)
    answers = "nothing\ny2\nfirst,second\nn\n"
    said = edgecd(
        "init", "rows.jsonl", stdin=answers, terminal=True, code=2, monkeypatch=monkeypatch
    )
    assert said == "nothing was written" and not Path("task.toml").exists()
    said = edgecd(
        "init", "rows.jsonl", stdin="y2\nfirst\ny\n", terminal=True, monkeypatch=monkeypatch
    )
    assert "numbers tell a model little" in said
    assert load_task("task.toml").labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label\n", "no rows"),
        ("text,label\na b c,x\nd e f,x\n", "no column looks like labels"),
        ("text,label\na b c,x\nd e f,y\n", "no column looks like labels|0 labels with 2 rows"),
        ("a film,spam\nb c d,spam\ne f g,ham\nh i,ham\nj k,spam\n", "line seems to be data"),
        ("n,label\n" + "1,x\n2,y\n" * 5, "no column looks like texts"),
        ("text,label\na,b\nc\n", "1 columns where the header has 2"),
    ],
)
def test_a_file_that_is_no_task_says_why(here, content, told):
    (here / "data.csv").write_text(content)
    with pytest.raises(InputError, match=told):
        start.draft(Path("data.csv"), StartConfig(), start_decide)
    assert list(here.iterdir()) == [here / "data.csv"]


CELLS = st.one_of(
    st.sampled_from(["a", "A ", "b", "", " ", "1", "1.0", "true", "x{y}", 'q"\\', "\u200ba"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
TABLES = st.lists(st.fixed_dictionaries({"text": CELLS, "label": CELLS}), min_size=1, max_size=24)


@given(table=TABLES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_written_is_a_task_without_faults(here, table):
    tiny.write_jsonl(here / "rows.jsonl", table)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(InputError):
        patch.setattr(start, "_tokenizers", lambda config: ([], (), []))
        asked = StartConfig(text_columns=("text",), label_column="label")
        made = start.draft(here / "rows.jsonl", asked, start_decide)
        start.write(made)
        assert survey(load_task("task.toml"), None).faults == ()
