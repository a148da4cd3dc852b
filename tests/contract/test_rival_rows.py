"""Simple classifiers on the same labels as rows of the benchmark: what they learn from, how they
answer, and that no other label reaches them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from edgecd.bench import needs, passes  # noqa: E402
from edgecd.bench.config import BenchConfig  # noqa: E402
from edgecd.bench.exchange import Lesson, Spec  # noqa: E402
from edgecd.bench.ledger import RIVAL as TRAINER  # noqa: E402
from edgecd.bench.ledger import WORKER  # noqa: E402
from edgecd.bench.report.record import Report  # noqa: E402
from edgecd.bench.rivals import encoder as fine_tuning  # noqa: E402
from edgecd.bench.rivals.registry import find  # noqa: E402
from edgecd.bench.run import bench  # noqa: E402
from edgecd.bench.systems import rival  # noqa: E402
from edgecd.bench.systems.base import Demonstration, System  # noqa: E402
from edgecd.bench.worker import work  # noqa: E402
from edgecd.console import Reporter  # noqa: E402
from edgecd.errors import InputError  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.record import to_json  # noqa: E402
from edgecd.plotting.roles import RIVAL  # noqa: E402
from edgecd.tasks.demonstrations import (  # noqa: E402
    draw_demonstrations,
    read_labelled,
    write_demonstrations,
)
from edgecd.tasks.splits import read_split  # noqa: E402
from edgecd.tasks.task import Task, load_task  # noqa: E402
from tests import tiny  # noqa: E402
from tests.tiny_encoders import (  # noqa: E402
    TYPED,
    Encoder,
    byte_pieces,
    encoder_run,
    tiny_encoder,
    word_pieces,
)

USUAL = ("majority", "tfidf", "embeddings", "encoder")
SHOTS, POSITIONS = 6, 160
INPUTS = [dict(row["fields"]) for row in tiny.examples(12, seed=5)]


def labelled(count: int = 12) -> tuple[Demonstration, ...]:
    """Pairs whose label a word tells: an encoder and TF-IDF can both learn them."""
    rows = tiny.examples(count, seed=3)
    names = list(tiny.LABELS)
    found = []
    for number, row in enumerate(rows):
        label = names[number % 2]
        word = "happy" if number % 2 else "sad"
        fields = {**row["fields"], "hypothesis": f"{word} {word} {row['fields']['hypothesis']}"}
        found.append((fields, label))
    return tuple(found)


def save_encoder(family: Encoder, folder: Path) -> Path:
    """A sentence encoder of two layers, in a folder as a hub has it."""
    tokenizer = byte_pieces() if family == "roberta" else word_pieces()
    names = ["input_ids", *(["token_type_ids"] if family in TYPED else []), "attention_mask"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    model: Any = tiny_encoder(family, len(tokenizer), max_position_embeddings=POSITIONS)
    return tiny.save_model(model.base_model, tokenizer, folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder("bert", tmp_path_factory.mktemp("encoders") / "minibert")


@dataclass(frozen=True)
class Trained:
    """A rival's lesson, and how it is loaded."""

    lesson: Lesson
    spec: Spec

    def answers(self, inputs: list[dict[str, str]]) -> np.ndarray:
        return rival.load(self.spec).answerer.logits(inputs)


def trained(
    name: str, folder: Path, encoder: Path | None = None, examples: Any = None, seed: int = 0
) -> Trained:
    examples = labelled() if examples is None else examples
    model = str(encoder) if encoder and find(name).sentence_encoder else ""
    lesson = Lesson(name, examples, tiny.TEMPLATE, tiny.LABELS, model, POSITIONS, seed, str(folder))
    rival.train(lesson)
    return Trained(lesson, spec_of(lesson))


def spec_of(lesson: Lesson) -> Spec:
    system = System(
        f"rival-{lesson.rival}", "rival", RIVAL, lesson.encoder, None, rival=lesson.rival
    )
    return Spec(
        system=system,
        template=lesson.template,
        verbalizer=lesson.verbalizer,
        demonstrations=lesson.labelled,
        max_length=lesson.max_length,
        provider="cpu",
        threads=1,
        dtype="float32",
        queries=(),
        warmup=1,
        timed_calls=1,
        sets={},
        calibration=(),
        draws=(),
        draw_queries=(),
        draw_calibration=(),
        folder=lesson.folder,
    )


@pytest.mark.parametrize("name", USUAL)
def test_a_rival_learns_its_examples_and_answers_in_any_batch(
    name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "LR", 3e-3)  # a model of two layers needs larger steps
    one = trained(name, tmp_path / "one", encoder)
    loaded = rival.load(one.spec)
    assert loaded.answerer.labels == tuple(tiny.LABELS)
    found = loaded.answerer.logits(INPUTS)
    assert found.shape == (len(INPUTS), 2) and np.isfinite(found).all()
    for place in (0, 7):
        alone = loaded.answerer.logits(INPUTS[place : place + 1])
        np.testing.assert_allclose(alone[0], found[place], atol=1e-4)
    assert [len(row.ids) > 0 for row in loaded.answerer.encode(INPUTS)] == (
        [name != "majority"] * len(INPUTS)
    )
    known = loaded.answerer.logits([dict(fields) for fields, _ in labelled()])
    right = np.array([list(tiny.LABELS).index(label) for _, label in labelled()])
    if name != "majority":
        assert np.mean(known.argmax(1) == right) > 0.7  # by chance it is half
    metadata = loaded.metadata
    assert metadata.runtime == {"majority": "numpy", "tfidf": "scikit-learn"}.get(name, "torch")
    assert metadata.disk_bytes and metadata.parameters and metadata.runtime_version


@pytest.mark.parametrize("family", ["distilbert", "roberta", "electra"])
def test_encoders_of_other_families_can_be_rivals(family: Encoder, tmp_path: Path) -> None:
    found = save_encoder(family, tmp_path / "encoder")
    for name in ("embeddings", "encoder"):
        scores = trained(name, tmp_path / name, found).answers(INPUTS)
        assert scores.shape == (len(INPUTS), 2) and np.isfinite(scores).all()


@pytest.mark.parametrize("name", USUAL)
def test_the_same_seed_gives_the_same_classifier(name: str, encoder: Path, tmp_path: Path) -> None:
    one, other = (trained(name, tmp_path / str(n), encoder, seed=3) for n in range(2))
    np.testing.assert_array_equal(one.answers(INPUTS), other.answers(INPUTS))


@pytest.mark.parametrize("name", USUAL)
def test_nothing_is_pickled(name: str, encoder: Path, tmp_path: Path) -> None:
    trained(name, tmp_path / "one", encoder)
    files = {file.suffix for file in (tmp_path / "one").rglob("*") if file.is_file()}
    assert files <= {".json", ".safetensors"}


def test_setfit_where_it_is_installed(encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("setfit")
    one = trained("setfit", tmp_path / "one", encoder)
    found = one.answers(INPUTS)
    assert found.shape == (len(INPUTS), 2) and np.isfinite(found).all()
    before = trained("embeddings", tmp_path / "two", encoder).answers(INPUTS)
    assert np.abs(found - before).max() > 1e-3  # its encoder is another one
    files = {file.suffix for file in (tmp_path / "one").rglob("*") if file.is_file()}
    assert files <= {".json", ".safetensors"}


def test_the_majority_is_the_most_frequent_label_and_of_several_the_first(tmp_path: Path) -> None:
    first, second = tiny.LABELS
    more = tuple((fields, second if n else first) for n, (fields, _) in enumerate(labelled(5)))
    assert (trained("majority", tmp_path / "a", examples=more).answers(INPUTS).argmax(1) == 1).all()
    even = trained("majority", tmp_path / "b", examples=labelled(4)).answers(INPUTS)
    assert (even.argmax(1) == 0).all()
    np.testing.assert_allclose(np.exp(even).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["tfidf", "embeddings"])
def test_a_label_that_no_example_has_is_never_the_answer(
    name: str, encoder: Path, tmp_path: Path
) -> None:
    one = tuple((fields, "contradiction") for fields, _ in labelled(4))
    found = trained(name, tmp_path / "one", encoder, examples=one).answers(INPUTS)
    assert (found.argmax(1) == 1).all() and np.isfinite(found).all()


def test_tfidf_is_the_pipeline_that_scikit_learn_makes(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    pipeline = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        ),
        LogisticRegression(C=10, max_iter=2000),
    )
    text: Callable[[Any], str] = lambda x: f"{x['premise']}\n{x['hypothesis']}"  # noqa: E731
    columns = [list(tiny.LABELS).index(label) for _, label in labelled()]
    pipeline.fit([text(fields) for fields, _ in labelled()], columns)
    expected = pipeline.decision_function([text(one) for one in INPUTS])
    found = trained("tfidf", tmp_path / "one").answers(INPUTS)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], expected, atol=1e-4)


def test_embeddings_are_means_of_the_last_states_of_length_one(encoder: Path) -> None:
    from edgecd.lm.text_encoder import open_encoder, sentence_embeddings
    from edgecd.tasks.prompts import PromptTemplate

    template = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
    found = sentence_embeddings(open_encoder(str(encoder), template, POSITIONS, "cpu"), INPUTS)
    model = transformers.AutoModel.from_pretrained(encoder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    for one, row in zip(INPUTS, found, strict=True):
        batch = tokenizer(one["premise"], one["hypothesis"], return_tensors="pt")
        with torch.no_grad():
            mean = model(**batch).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, (mean / mean.norm()).numpy(), atol=1e-5)


def test_long_pairs_are_cut_to_what_the_encoder_has_positions_for(
    encoder: Path, tmp_path: Path
) -> None:
    one = trained("embeddings", tmp_path / "one", encoder)
    answerer = rival.load(replace(one.spec, max_length=4096)).answerer
    long = {"premise": "the cat sat " * 200, "hypothesis": "a dog " * 100}
    (encoded,) = answerer.encode([long])
    assert POSITIONS - 2 <= len(encoded.ids) <= POSITIONS and encoded.shortened
    assert np.isfinite(answerer.logits([long])).all()


def test_a_decoder_is_no_sentence_encoder(tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer()
    model = tiny.tiny_causal_lm("llama", len(tokenizer))
    decoder = tiny.save_model(model, tokenizer, tmp_path / "decoder")
    for name in ("embeddings", "encoder"):
        with pytest.raises(InputError, match="no sentence encoder but a llama"):
            trained(name, tmp_path / name, decoder)
    lesson = Lesson(
        "embeddings",
        labelled(),
        tiny.TEMPLATE,
        tiny.LABELS,
        str(decoder),
        POSITIONS,
        0,
        str(tmp_path),
    )
    assert "no sentence encoder" in str(rival.train_rival(to_json(lesson))["skipped"])


@dataclass(frozen=True)
class World:
    """A task, its run with the labels that it learned from, and a bundle."""

    task: Task
    far: Task
    run: Path
    bundle: Path

    def options(self, **changes: Any) -> dict[str, Any]:
        asked = {
            "task": self.task.source,
            "ood": (self.far.source,),
            "run": self.run,
            "baselines": (),
            "threads": 1,
            "rounds": 1,
            "latency_queries": 3,
            **changes,
        }
        return {"bundles": [self.bundle], "config": BenchConfig(**asked)}


def write_task(folder: Path, name: str, kept: frozenset[str] = frozenset()) -> Task:
    """A task; where `kept` names inputs, all others have the opposite label."""
    other = dict(zip(tiny.LABELS, reversed(list(tiny.LABELS)), strict=True))
    for split, count in (("train", 40), ("validation", 24)):
        rows = []
        for row in tiny.examples(count, seed=len(name) + len(split)):
            label = row["label"]
            if kept and json.dumps(row["fields"]) not in kept:
                label = other[label]
            rows.append({"id": row["id"], **row["fields"], "label": label})
        tiny.write_jsonl(folder / name / f"{split}.jsonl", rows)
    words = ", ".join(f"{label} = {json.dumps(word)}" for label, word in tiny.LABELS.items())
    path = folder / f"{name}.toml"
    path.write_text(
        f"name = {json.dumps(name)}\ntemplate = {json.dumps(tiny.TEMPLATE)}\n"
        f"labels = {{ {words} }}\n[data]\n"
        f'train = "{name}/train.jsonl"\nvalidation = "{name}/validation.jsonl"\n'
    )
    return load_task(str(path))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("rivals")
    task = write_task(folder, "pairs")
    run = tiny.tiny_run(folder / "run")
    export_run(run, folder / "student")
    train = read_split(task, "train").examples
    write_demonstrations(
        run, [draw_demonstrations(train, task.labels, SHOTS, 0, draw) for draw in range(3)]
    )
    return World(task, write_task(folder, "far-away"), run, folder / "student")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What every process is asked; all of it is done in this one, which has PyTorch already."""
    seen: list[tuple[str, Any]] = []

    def here(name: str, spec: Any, threads: int, program: str = WORKER) -> Any:
        seen.append((program, spec))
        return work(spec) if program == WORKER else rival.train_rival(spec)

    monkeypatch.setattr(passes, "measure", here)
    return seen


def measured(world: World, out: Path, **changes: Any) -> Report:
    return bench(out=out, **world.options(**changes))


def test_rivals_stand_in_the_report_beside_the_student(
    world: World, encoder: Path, tmp_path: Path, asked: Any
) -> None:
    report = measured(world, tmp_path / "out", encoder=str(encoder))
    rows = {row.system: row for row in report.rows}
    assert list(rows) == [*(f"rival-{name}" for name in USUAL), "student"]
    known = read_labelled(world.run)
    assert known is not None
    counts = Counter(one.label for one in known)
    most = max(tiny.LABELS, key=lambda label: counts[label])
    truth = [row.label for row in read_split(world.task, "validation").examples]
    assert rows["rival-majority"].accuracy == np.mean([one == most for one in truth])
    for name in USUAL:
        row = rows[f"rival-{name}"]
        assert (row.kind, row.role, row.shots_in_input) == ("rival", RIVAL, 0)
        gap = (row.minus_bundles or {})["student"]
        assert gap.difference == pytest.approx(
            (row.accuracy or 0) - (rows["student"].accuracy or 0)
        )
        far = row.ood_accuracy["far-away"]
        assert far and far.minus_bundles and far.examples == 24
    assert rows["student"].minus_bundles is None
    for words in (f"learned from the labels of {len(known)} examples", "encoder is minibert"):
        assert any(words in note for note in report.notes)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Next to simple classifiers on the same labels" in text and "rival-tfidf" in text
    assert not (tmp_path / "out" / "models").exists()


def test_no_label_but_those_of_the_run_reaches_a_rival(
    world: World, encoder: Path, tmp_path: Path, asked: list[tuple[str, Any]]
) -> None:
    """With every other label of the data turned round, rivals are asked and answer the same."""
    first = measured(world, tmp_path / "one", encoder=str(encoder), ood=())
    before = list(asked)
    asked.clear()
    lines = (world.run / "demonstrations.jsonl").read_text().splitlines()
    shown = [json.loads(line) for line in lines]
    known = {json.dumps(one["fields"]): one for one in shown}  # of all draws, each once
    kept = frozenset(known)
    turned = replace(world, task=write_task(tmp_path, "pairs", kept))
    assert SHOTS < len(known) < len(shown)
    second = measured(turned, tmp_path / "two", encoder=str(encoder), ood=())
    assert [row.accuracy for row in first.rows] != [row.accuracy for row in second.rows]

    def of_rivals(specs: list[tuple[str, Any]]) -> str:
        found = [one for program, one in specs if program == TRAINER or one["system"]["rival"]]
        return json.dumps(found).replace(str(tmp_path / "one"), str(tmp_path / "two"))

    assert of_rivals(before) == of_rivals(asked)
    for name in USUAL:
        one, two = (
            json.loads((tmp_path / out / "systems" / f"rival-{name}/evaluation.json").read_text())
            for out in ("one", "two")
        )
        assert one["result"]["scores"] == two["result"]["scores"]
    for program, spec in before:
        if program == TRAINER:
            told = [(fields, label) for fields, label in spec["labelled"]]
            assert told == [(one["fields"], one["label"]) for one in known.values()]
        elif spec["system"]["rival"]:
            assert spec["draws"] == []  # which have labels that the student did not learn from


def test_without_an_encoder_the_others_are_measured_and_it_is_said(
    world: World, tmp_path: Path, asked: Any
) -> None:
    report = measured(world, tmp_path / "out", ood=())
    assert [row.system for row in report.rows] == ["rival-majority", "rival-tfidf", "student"]
    assert any(
        "embeddings and encoder were left out" in note and "--encoder" in note
        for note in report.notes
    )


def test_a_student_that_is_an_encoder_is_the_rivals_encoder(
    world: World, encoder: Path, tmp_path: Path, asked: list[tuple[str, Any]]
) -> None:
    asks = {"student": str(encoder), "rivals": ("embeddings",), "ood": ()}
    report = measured(world, tmp_path / "out", **asks)
    assert [row.system for row in report.rows] == ["student"]  # its bundle is of a decoder
    run = encoder_run(tmp_path / "run", "bert")
    export_run(run, tmp_path / "small")
    of_encoder = replace(world, bundle=tmp_path / "small")
    report = measured(of_encoder, tmp_path / "other", **asks)
    assert [row.system for row in report.rows] == ["rival-embeddings", "small"]


def test_what_is_not_installed_is_left_out_with_its_command(
    world: World, tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = needs.is_there
    hidden = ("sklearn", "setfit")
    monkeypatch.setattr(needs, "is_there", lambda name: name not in hidden and there(name))
    report = measured(world, tmp_path / "out", rivals=("majority", "tfidf", "setfit"), ood=())
    assert [row.system for row in report.rows] == ["rival-majority", "student"]
    assert any(
        note == "tfidf was left out: tfidf needs scikit-learn: pip install 'edgecd[rivals]'."
        for note in report.notes
    )
    assert any(note.startswith("setfit was left out") for note in report.notes)


def test_rivals_can_be_none_and_wrong_ones_are_refused(
    world: World, tmp_path: Path, asked: Any
) -> None:
    report = measured(world, tmp_path / "out", rivals=(), ood=())
    assert [row.system for row in report.rows] == ["student"]
    assert not any("left out" in note or "learned" in note for note in report.notes)
    with pytest.raises(InputError, match=r"unknown rival 'tfdif'.*did you mean 'tfidf'"):
        measured(world, tmp_path / "wrong", rivals=("tfdif",))
    with pytest.raises(InputError, match="rivals learn from the demonstrations' labels"):
        bench(out=tmp_path / "w", **world.options(run=None, shots=0, rivals=("tfidf",)))
    with pytest.raises(InputError, match="--encoder /nowhere: no such folder"):
        measured(world, tmp_path / "wrong", encoder="/nowhere")
    assert not (tmp_path / "wrong").exists()
    decoder = str(world.run / "checkpoint")
    report = measured(world, tmp_path / "other", encoder=decoder, rivals=("embeddings",), ood=())
    assert any("is no sentence encoder but a llama" in note for note in report.notes)


def test_a_rival_is_trained_once_and_tfidf_runs_without_pytorch(
    world: World, tmp_path: Path
) -> None:
    said: list[str] = []
    options = world.options(rivals=("tfidf",), rounds=2, ood=())
    report = bench(out=tmp_path / "out", reporter=Reporter(said.append, lambda *_: None), **options)
    assert sum("training rival-tfidf" in line for line in said) == 1
    row = next(row for row in report.rows if row.kind == "rival")
    assert "sklearn" in row.modules and "torch" not in row.modules
    assert row.import_ms and row.load_ms and row.peak_rss_bytes and len(row.rounds) == 2
    said.clear()
    again = bench(out=tmp_path / "out", reporter=Reporter(said.append, lambda *_: None), **options)
    assert said == [] and again.rows == report.rows
