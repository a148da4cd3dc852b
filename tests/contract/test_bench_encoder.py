"""Benchmarks of bundles whose student is an encoder: alone, beside a decoder's, and with peers."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

from edgecd.bench import peers  # noqa: E402
from edgecd.bench.config import BenchConfig  # noqa: E402
from edgecd.bench.peers import ctranslate2, llamacpp  # noqa: E402
from edgecd.bench.report.record import Report  # noqa: E402
from edgecd.bench.run import bench  # noqa: E402
from edgecd.bench.systems import given, peer  # noqa: E402
from edgecd.bench.systems.choose import choose_roles  # noqa: E402
from edgecd.bench.systems.given import Bundle, bundle_of_run, known_models  # noqa: E402
from edgecd.errors import InputError  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.bundle import read_manifest  # noqa: E402
from edgecd.runtime.predictor import Predictor  # noqa: E402
from edgecd.tasks.evaluation import evaluation_sets  # noqa: E402
from edgecd.tasks.task import load_task  # noqa: E402
from tests import tiny  # noqa: E402
from tests.tiny_encoder_folders import encoder_folder  # noqa: E402
from tests.tiny_encoders import TYPED, Encoder, encoder_run  # noqa: E402

PROMPTS = ("teacher-icl", "teacher-icl-cached")
INPUTS = [dict(row["fields"]) for row in tiny.examples(12, seed=5)]


@dataclass(frozen=True)
class World:
    """A task, a teacher, and a run with its bundle of an encoder and of a decoder."""

    task: Path
    teacher: Path
    run: Path
    encoder: Path
    decoder_run: Path
    decoder: Path

    def bench(self, out: Path, *bundles: Path, **changes: Any) -> Report:
        asked = {
            "task": str(self.task),
            "teacher": str(self.teacher),
            "run": self.run,
            "shots": 4,
            "threads": 1,
            "dtype": "float32",
            "few_shots": (),
            "draws": 1,
            "rounds": 1,
            "latency_queries": 4,
            "limit": 12,
            "prompt_runtimes": ("torch",),
            "rivals": (),
            **changes,
        }
        return bench(bundles or [self.encoder], BenchConfig(**asked), out)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    for split in ("train", "validation"):
        rows = tiny.examples(32, seed=len(split))
        flat = [{"id": row["id"], **row["fields"], "label": row["label"]} for row in rows]
        tiny.write_jsonl(folder / f"{split}.jsonl", flat)
    (folder / "task.toml").write_text(tiny.TASK)
    tokenizer = tiny.tiny_tokenizer()
    teacher = tiny.save_model(
        tiny.tiny_causal_lm("qwen2", len(tokenizer)), tokenizer, folder / "teacher"
    )
    run, decoder_run = encoder_run(folder / "run", "bert"), tiny.tiny_run(folder / "decoder-run")
    said = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**said, "student": "tiny-bert"}))
    export_run(run, folder / "encoder-fp32")
    export_run(decoder_run, folder / "decoder-fp32")
    return World(
        folder / "task.toml",
        teacher,
        run,
        folder / "encoder-fp32",
        decoder_run,
        folder / "decoder-fp32",
    )


def test_an_encoder_has_no_prompt_of_its_own_size_and_the_report_says_why(
    world: World, tmp_path: Path
) -> None:
    found = world.bench(tmp_path / "out")
    assert [row.system for row in found.rows] == [*PROMPTS, "encoder-fp32"]
    assert any(
        note.startswith("No prompt of the student's size was measured: tiny-bert is an encoder")
        and "--student" in note
        for note in found.notes
    )
    (held,) = evaluation_sets(load_task(str(world.task)), [], None, 12)
    answers = Predictor.load(world.encoder).predict_batch(held.inputs)
    row = found.rows[-1]
    right = [one.label == label for one, label in zip(answers, held.labels, strict=True)]
    assert row.accuracy == np.mean(right)
    assert (row.shots_in_input, row.role) == (0, "student")
    assert "torch" not in row.modules
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| encoder-fp32 |" in page


def test_a_prompt_of_its_size_that_is_asked_for_needs_a_decoder(
    world: World, tmp_path: Path
) -> None:
    same_size = {"baselines": ("same-size-zero-shot",)}
    with pytest.raises(InputError, match=r"tiny-bert is an encoder.*decoder with --student"):
        world.bench(tmp_path / "out", **same_size)
    another = encoder_folder(tmp_path / "encoder")
    with pytest.raises(InputError, match=r"the student .*encoder is an encoder.*decoder with"):
        world.bench(tmp_path / "out", student=str(another), **same_size)
    found = world.bench(tmp_path / "out", student=str(world.teacher), **same_size)
    assert [row.system for row in found.rows] == ["same-size-zero-shot", "encoder-fp32"]
    assert not any("is an encoder" in note for note in found.notes)


def test_both_kinds_are_measured_together_with_the_peers_of_the_run(
    world: World, tmp_path: Path
) -> None:
    found = world.bench(
        tmp_path / "out",
        world.decoder,  # the first of them is not the run's
        world.encoder,
        baselines=(),
        peers=("torch-fp32",),
        lengths=(32,),
    )
    rows = {row.system: row for row in found.rows}
    assert list(rows) == ["torch-fp32", "decoder-fp32", "encoder-fp32"]
    assert rows["torch-fp32"].labels_changed == rows["encoder-fp32"].labels_changed == 0.0
    assert rows["decoder-fp32"].labels_changed is None, "it is of another checkpoint"
    one, other = rows["torch-fp32"], rows["encoder-fp32"]
    assert one.tokens_per_query_mean == other.tokens_per_query_mean
    assert one.accuracy == other.accuracy
    with pytest.raises(InputError, match="none is of .*run"):
        world.bench(tmp_path / "other", world.decoder, baselines=(), peers=("torch-fp32",))


def test_of_both_kinds_the_decoder_is_prompted_and_the_encoder_is_the_rivals(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "is_here", lambda name: True)
    both = [Bundle(one, read_manifest(one)) for one in (world.encoder, world.decoder)]
    run = json.loads((world.run / "run.json").read_text())
    for told in (None, run, json.loads((world.decoder_run / "run.json").read_text())):
        models = known_models(both, told, None, None)
        assert (models.student_base, models.encoder) == ("tiny-llama", "tiny-bert")
    assert known_models(both[:1], run, None, None).student_base is None
    assert known_models(both, run, None, "org/decoder").student_base == "org/decoder"
    assert bundle_of_run(both[::-1], run) == both[0]
    assert bundle_of_run(both[1:], run) is None


def test_what_only_a_bundle_names_is_not_fetched(world: World) -> None:
    (bundle,) = [Bundle(world.decoder, read_manifest(world.decoder))]
    alone = known_models([bundle], None, None, None)
    assert (alone.teacher, alone.student_base) == (None, None)
    assert alone.unfetched == ("tiny-teacher", "tiny-llama")
    named = known_models([bundle], None, "tiny-teacher", None)
    assert (named.teacher, named.unfetched) == ("tiny-teacher", ("tiny-llama",))
    run = json.loads((world.decoder_run / "run.json").read_text())
    of_run = known_models([bundle], run, None, None)
    assert (of_run.teacher, of_run.student_base) == ("tiny-teacher", "tiny-llama")
    with pytest.raises(InputError, match=r"--teacher \(a bundle names tiny-teacher, tiny-llama\)"):
        choose_roles(alone, ["teacher-icl-cached"])


# --- peers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", peers.NAMES)
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_peer_reads_texts_as_the_encoder_does(
    world: World, tmp_path: Path, name: str, family: Encoder
) -> None:
    if missing := peers.missing_reason(name):
        pytest.skip(missing)
    run, bundle = world.run, world.encoder
    if family != "bert":
        run, bundle = encoder_run(tmp_path / "run", family), tmp_path / "bundle"
        export_run(run, bundle)
    arguments = (name, run / "checkpoint", tmp_path / "peer", 1)
    if name.startswith("llama") or (name.startswith("ctranslate2") and family != "bert"):
        with pytest.raises(InputError, match=family):
            peer.prepare(*arguments)
        return
    peer.prepare(*arguments)
    answerer = peer.load_folder(name, tmp_path / "peer", bundle, 1).answerer
    expected = Predictor.load(bundle).logits(INPUTS)
    whole = {"torch-fp32": 1e-4, "ort-fp32": 1e-3, "torch-bf16": 0.1}
    found = answerer.logits(INPUTS)
    assert tiny.relative_error(found, expected) < whole.get(name, 0.7)
    if family in TYPED:  # which text is which counts
        swapped = [dict(zip(one, reversed(one.values()), strict=True)) for one in INPUTS]
        assert tiny.relative_error(answerer.logits(swapped), expected) > 0.2


def test_what_peers_cannot_take_of_an_encoder_is_said(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"only llama and qwen2 .* not bert"):
        llamacpp.prepare(world.run / "checkpoint", tmp_path, "q8_0", tmp_path)
    # The family is known before anything of the runtime is needed
    for name in ("ctranslate2", "ctranslate2.converters", "ctranslate2.converters.transformers"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setattr(
        sys.modules["ctranslate2.converters.transformers"], "_MODEL_LOADERS", {}, raising=False
    )
    run = encoder_run(tmp_path / "run", "roberta")
    with pytest.raises(InputError, match="runs no text classifier of an encoder.*of roberta"):
        ctranslate2.prepare(run / "checkpoint", tmp_path, "int8", tmp_path)


def test_an_encoder_is_not_prompted_by_mistake(tmp_path: Path) -> None:
    from edgecd.lm.models import Unsupported, load_language_model

    folder = encoder_folder(tmp_path / "encoder")
    with pytest.raises(Unsupported, match=r"is an encoder \(bert\).*cannot be prompted"):
        load_language_model(str(folder), torch.device("cpu"), torch.float32)
