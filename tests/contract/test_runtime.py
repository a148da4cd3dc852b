"""The promise of a bundle: on the device, without PyTorch, it answers as the checkpoint does."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")


import edgecd  # noqa: E402
from edgecd.console import Reporter  # noqa: E402
from edgecd.errors import CheckFailed, InputError  # noqa: E402
from edgecd.export.config import ExportConfig  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.bundle import read_manifest, write_bundle  # noqa: E402
from edgecd.formats.manifest import MANIFEST, MODEL, README, TOKENIZER  # noqa: E402
from edgecd.formats.precision import PRECISIONS  # noqa: E402
from edgecd.runtime import session as sessions  # noqa: E402
from edgecd.runtime.predictor import Predictor  # noqa: E402
from edgecd.runtime.verify import verify  # noqa: E402
from edgecd.tasks.batching import BATCH_TOKENS, batches  # noqa: E402
from edgecd.tasks.encoding import encode_prompt  # noqa: E402
from edgecd.tasks.prompts import PromptTemplate  # noqa: E402
from tests import tiny  # noqa: E402

MAX_LENGTH = 48
TEMPLATE = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
FUSED = ("llama", "opt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        family: tiny.tiny_run(
            folder / family,
            family,
            max_length=MAX_LENGTH,
            # One as training leaves it, one of an older run.
            tokenizer=tiny.tiny_tokenizer(bos=True) if family == "opt" else None,
        )
        for family in FUSED
    }


@pytest.fixture(scope="module")
def bundles(
    runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for family, run in runs.items():
        for precision in ("fp32", "int8"):
            # Random weights have no margins to speak of, so int8 is let through here.
            limit = 0.0 if precision == "fp32" else 100.0
            out = folder / f"{family}-{precision}"
            export_run(run, out, ExportConfig(precision=precision, max_flips=limit))
            made[family, precision] = out
    return made


def checkpoint_logits(run: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """PyTorch's answer, one prompt at a time and without padding."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "checkpoint")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "checkpoint")
    answers = []
    for fields in rows:
        encoded = encode_prompt(tokenizer.backend_tokenizer, TEMPLATE, fields, MAX_LENGTH)
        with torch.inference_mode():
            answers.append(model.eval()(torch.tensor([encoded.ids])).logits[0].numpy())
    return np.stack(answers)


def mixed_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Inputs of very different lengths, some over the limit, with text no vocabulary knows."""
    rng = random.Random(seed)
    odd = ["", "naïve 漢字 🙂", "{premise} </s> <pad>", "\n\n\t", "a" * 300]
    names = ("premise", "hypothesis")
    rows = [
        {
            name: rng.choice(odd) if rng.random() < 0.3 else tiny.sentence(rng.random(), None)
            for name in names
        }
        for _ in range(count)
    ]
    # One of the two may be empty.
    return [row if any(map(str.strip, row.values())) else {**row, names[0]: "."} for row in rows]


@pytest.mark.parametrize("family", FUSED)
@pytest.mark.parametrize("count", [1, 2, 3, 31, 70])
def test_fp32_equals_pytorch_for_any_batch_size_length_and_padding(
    runs: dict[str, Path], bundles: dict[tuple[str, str], Path], family: str, count: int
) -> None:
    rows = mixed_rows(count, seed=count)
    expected = checkpoint_logits(runs[family], rows)
    logits = Predictor.load(bundles[family, "fp32"], threads=1).logits(rows)
    assert (logits.dtype, logits.shape) == (np.float32, (count, 2))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("family", FUSED)
def test_int8_is_smaller_and_close(
    runs: dict[str, Path], bundles: dict[tuple[str, str], Path], family: str
) -> None:
    rows = [row["fields"] for row in tiny.examples(40, seed=3)]
    expected = checkpoint_logits(runs[family], rows)
    got = Predictor.load(bundles[family, "int8"], threads=1).logits(rows)
    assert np.abs(got - expected).mean() < 0.25 * np.abs(expected).mean()
    sizes = [(bundles[family, one] / MODEL).stat().st_size for one in ("int8", "fp32")]
    assert sizes[0] < 0.6 * sizes[1]
    assert read_manifest(bundles[family, "int8"]).parity["treatment"] != "fp32"


def test_order_is_kept_and_a_batch_answers_as_single_calls_do(
    bundles: dict[tuple[str, str], Path],
) -> None:
    predictor = Predictor.load(bundles["llama", "fp32"], threads=1)
    rows = mixed_rows(45, seed=5)
    together = predictor.predict_batch(rows)
    for row, one in zip(rows, together, strict=True):
        alone = predictor.predict(row)
        assert (alone.label, alone.shortened) == (one.label, one.shortened)
        assert alone.probabilities == pytest.approx(one.probabilities, abs=1e-4)
        assert list(one.probabilities) == list(tiny.LABELS)
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.label == max(one.probabilities, key=one.probabilities.__getitem__)
    assert {one.shortened for one in together} == {True, False}
    assert predictor.predict_batch([]) == []
    assert predictor.logits([]).shape == (0, 2)


def test_an_int8_answer_does_not_depend_on_its_neighbours(
    bundles: dict[tuple[str, str], Path],
) -> None:
    predictor = Predictor.load(bundles["llama", "int8"], threads=1)
    rows = mixed_rows(20, seed=6)
    alone = np.concatenate([predictor.logits([row]) for row in rows])
    np.testing.assert_array_equal(predictor.logits(rows), alone)


def test_batches_hold_each_place_once_and_stay_within_their_limits() -> None:
    rng = random.Random(0)
    lengths = [rng.choice([1, 7, 50, 900, 5_000]) for _ in range(300)]
    made = list(batches(lengths, 32))
    assert sorted(place for batch in made for place in batch) == list(range(300))
    for batch in made:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= BATCH_TOKENS
        assert len(batch) <= 32


@pytest.mark.parametrize("family", FUSED)
def test_training_and_device_tokenize_alike(
    runs: dict[str, Path], bundles: dict[tuple[str, str], Path], family: str
) -> None:
    trained = transformers.AutoTokenizer.from_pretrained(runs[family] / "checkpoint")
    predictor = Predictor.load(bundles[family, "fp32"])
    for row in mixed_rows(60, seed=9):
        expected = encode_prompt(trained.backend_tokenizer, TEMPLATE, row, MAX_LENGTH)
        (got,) = predictor.encode([row])
        assert got == expected
        assert len(got.ids) <= MAX_LENGTH
        prefix = predictor.manifest.prefix_ids
        assert tuple(got.ids[: len(prefix)]) == prefix
        assert (prefix[0], len(prefix)) == (1, 1 if family == "opt" else 2)  # `</s>`, newline


def test_a_plain_text_is_taken_when_the_template_has_one_field(
    tmp_path: Path, bundles: dict[tuple[str, str], Path]
) -> None:
    source = bundles["llama", "fp32"]
    many = Predictor.load(source)
    with pytest.raises(InputError, match="premise, hypothesis"):
        many.predict("text")
    manifest = read_manifest(source)
    changed = dict(vars(manifest), template="{text} True or False?", samples=())
    tokenizer = (source / "tokenizer.json").read_text()
    write_bundle(tmp_path / "one", type(manifest)(**changed), source / MODEL, tokenizer)
    one = Predictor.load(tmp_path / "one")
    assert one.predict("A cat sits.") == one.predict({"text": "A cat sits."})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"premise": "a"}, "'hypothesis' of the template is missing"),
        ({"premise": "a", "hypothesis": 3}, "is not text"),
        ({"premise": "a", "hypothesis": "\ud800"}, "Unicode"),
        (3, "text or named fields"),
    ],
)
def test_a_wrong_input_is_named(
    bundles: dict[tuple[str, str], Path], item: Any, message: str
) -> None:
    predictor = Predictor.load(bundles["llama", "fp32"])
    with pytest.raises(InputError, match=message):
        predictor.predict(item)
    good = {"premise": "a", "hypothesis": "b"}
    with pytest.raises(InputError, match="input 1: "):
        predictor.predict_batch([good, item])


def test_predicting_loads_neither_torch_nor_transformers(
    bundles: dict[tuple[str, str], Path],
) -> None:
    code = f"""
import pkgutil, sys, importlib
import edgecd.runtime
for one in pkgutil.iter_modules(edgecd.runtime.__path__, "edgecd.runtime."):
    importlib.import_module(one.name)
from edgecd import Predictor
from edgecd.runtime.verify import verify
verify({str(bundles["llama", "int8"])!r})
predictor = Predictor.load({str(bundles["llama", "int8"])!r})
print(predictor.predict({{"premise": "A cat sits.", "hypothesis": "A dog runs."}}).label)
print([name for name in ("torch", "transformers", "onnx", "peft") if name in sys.modules])
"""
    root = Path(edgecd.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    label, loaded = done.stdout.split("\n", 1)
    assert label in tiny.LABELS
    assert loaded.strip() == "[]"


# Providers


def test_cuda_is_never_silently_the_cpu(
    bundles: dict[tuple[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundles["llama", "fp32"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=r"edgecd\[gpu\]"):
        Predictor.load(path, provider="cuda")
    assert Predictor.load(path, provider="auto").session.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(InputError, match="cpu, cuda, auto"):
        Predictor.load(path, provider="tpu")

    class FallsBack(ort.InferenceSession):  # as onnxruntime does when CUDA's libraries are absent
        def __init__(self, model: str, options: Any, providers: list[str], **more: Any) -> None:
            super().__init__(model, options, providers=["CPUExecutionProvider"])

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: both)
    monkeypatch.setattr(ort, "InferenceSession", FallsBack)
    with pytest.raises(InputError, match="could not be loaded"):
        Predictor.load(path, provider="cuda")


def test_threads_are_the_sessions(bundles: dict[tuple[str, str], Path]) -> None:
    predictor = Predictor.load(bundles["llama", "fp32"], threads=1)
    options = predictor.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    with pytest.raises(InputError, match="at least 1"):
        Predictor.load(bundles["llama", "fp32"], threads=0)


# verify


@pytest.fixture
def copy(bundles: dict[tuple[str, str], Path], tmp_path: Path) -> Path:
    shutil.copytree(bundles["llama", "fp32"], tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(bundle: Path, **changes: Any) -> None:
    raw = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(raw | changes))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_verify_says_what_it_checked(bundles: dict[tuple[str, str], Path], precision: str) -> None:
    checked = verify(bundles["opt", precision])
    assert json.loads(json.dumps(checked)) == checked
    assert (checked["ok"], checked["samples"]) == (True, 8)
    assert checked["max_abs_logit_diff"] <= checked["tolerance"]
    assert checked["tolerance"] >= PRECISIONS[precision].tolerance
    assert precision in checked["tolerance_reason"]


def test_the_samples_are_neutral_and_one_of_them_is_shortened(
    bundles: dict[tuple[str, str], Path], runs: dict[str, Path]
) -> None:
    manifest = read_manifest(bundles["llama", "fp32"])
    users = (runs["llama"] / "heldout.jsonl").read_text()
    for sample in manifest.samples:
        assert not any(text in users for text in sample.fields.values())
    assert max(len(sample.input_ids) for sample in manifest.samples) == MAX_LENGTH
    predictor = Predictor.load(bundles["llama", "fp32"])
    assert predictor.predict(manifest.samples[-1].fields).shortened
    assert not predictor.predict(manifest.samples[0].fields).shortened


@pytest.mark.parametrize("name", [MODEL, TOKENIZER, README])
def test_verify_finds_a_changed_file(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 3] ^= 4
    (copy / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=name):
        verify(copy)
    if name != README:  # a predictor reads only the other two
        with pytest.raises(CheckFailed, match=name):
            Predictor.load(copy)


def test_verify_finds_logits_and_tokens_that_are_not_the_recorded_ones(copy: Path) -> None:
    samples = json.loads((copy / MANIFEST).read_text())["samples"]
    off = [dict(one) for one in samples]
    off[3]["logits"] = [value + 0.01 for value in off[3]["logits"]]
    rewrite(copy, samples=off)
    with pytest.raises(CheckFailed, match="sample 3: logits"):
        verify(copy)
    off[3] = {**samples[3], "input_ids": samples[3]["input_ids"][:-1]}
    rewrite(copy, samples=off)
    with pytest.raises(CheckFailed, match="sample 3: the tokenizer"):
        verify(copy)
    rewrite(copy, samples=[])
    with pytest.raises(CheckFailed, match="no parity samples"):
        verify(copy)


def test_verify_finds_a_graph_that_is_not_the_manifests(copy: Path) -> None:
    outputs = {"logits": {"dtype": "float32", "shape": ["batch", 3]}}
    rewrite(copy, outputs=outputs)
    with pytest.raises(CheckFailed, match="outputs are"):
        verify(copy)
    rewrite(copy, template="no place")
    with pytest.raises(CheckFailed, match="no place for the input"):
        verify(copy)
    with pytest.raises(InputError, match="not a bundle"):
        verify(copy.parent)


def test_a_graph_that_onnxruntime_cannot_load_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(InputError, match="cannot load it") as refused:
        sessions.open_session(tmp_path / "model.onnx")
    assert "\n" not in str(refused.value)


# What an export says


def test_the_manifest_says_how_it_was_made_and_what_was_tried(
    bundles: dict[tuple[str, str], Path],
) -> None:
    manifest = read_manifest(bundles["llama", "int8"])
    assert manifest.parity["examples"] == 48
    assert manifest.parity["tried"][-1]["treatment"] == manifest.parity["treatment"]
    made = manifest.provenance
    assert (made["teacher"], made["student"], made["shots"]) == ("tiny-teacher", "tiny-llama", 4)
    assert made["fingerprints"]["demonstrations"] == "0" * 64
    assert set(made["export"]["versions"]) >= {"edgecd", "onnx", "onnxruntime", "torch"}
    assert made["export"]["exporter"] == "fused"


def test_a_run_that_cannot_be_exported_says_why(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="'int3' does not exist: .* fp32, fp16, int8, int4"):
        export_run(runs["llama"], out, ExportConfig(precision="int3"))
    with pytest.raises(InputError, match="'magic': .* auto, fused, torch, optimum"):
        export_run(runs["llama"], out, ExportConfig(exporter="magic"))
    with pytest.raises(InputError, match="no such run"):
        export_run(tmp_path / "absent", out)
    run = tmp_path / "run"
    shutil.copytree(runs["llama"], run)
    lines = (run / "heldout.jsonl").read_text().splitlines()
    (run / "heldout.jsonl").write_text("\n".join([lines[0], '{"fields": {"premise": "a"}}']))
    with pytest.raises(InputError, match=r"heldout\.jsonl:2: .*'hypothesis'"):
        export_run(run, out)
    (run / "heldout.jsonl").unlink()
    with pytest.raises(InputError, match=r"heldout\.jsonl is missing"):
        export_run(run, out)
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(InputError, match="--resume"):
        export_run(run, out)
    (run / "run.json").unlink()
    with pytest.raises(InputError, match=r"run\.json"):
        export_run(run, out)
    assert not out.exists()


def test_an_existing_bundle_is_refused_before_any_work(runs: dict[str, Path], copy: Path) -> None:
    lines: list[str] = []
    with pytest.raises(InputError, match="--force"):
        export_run(runs["llama"], copy, reporter=Reporter(lines.append, lambda *_: None))
    assert lines == []
    export_run(runs["llama"], copy, force=True, reporter=Reporter(lines.append, lambda *_: None))
    assert lines
    verify(copy)


def test_a_family_without_a_fused_graph_is_traced(tmp_path: Path) -> None:
    run = tiny.tiny_run(tmp_path / "run", tiny.TRACED, heldout=16, max_length=MAX_LENGTH)
    done = export_run(run, tmp_path / "out")
    assert (done["exporter"], done["prefix_tokens"]) == ("torch", 0)
    rows = mixed_rows(9, seed=2)
    np.testing.assert_allclose(
        Predictor.load(tmp_path / "out").logits(rows), checkpoint_logits(run, rows), atol=1e-4
    )
    with pytest.raises(InputError, match="no fused graph"):
        export_run(run, tmp_path / "other", ExportConfig(precision="fp32", exporter="fused"))
