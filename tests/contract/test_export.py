"""Options of an export: precisions, targets, a smaller vocabulary, and what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from typer.testing import CliRunner

from edgecd.cli import app
from edgecd.errors import CheckFailed, InputError
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.export.target import load_target, target_names
from edgecd.formats.bundle import read_manifest
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.formats.precision import PRECISIONS
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.host.machine import int8_products
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import verify
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.prompts import PromptTemplate
from tests import tiny

MAX_LENGTH = 64
TEMPLATE = PromptTemplate(tiny.TEMPLATE, tiny.LABELS)
ROWS = [row["fields"] for row in tiny.examples(24, seed=3)]
UNSEEN = [
    {"premise": premise, "hypothesis": hypothesis}
    for premise, hypothesis in (
        ("Žluťoučký kůň 🐎🏽 пьёт воду", "日本語 und Füße"),
        ("zyxwvut\r\n\t\x00\x7f", "e\u0301 \u202e \U0010ffff"),
        ("", "</s> <pad> {premise}"),
    )
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("export")
    return {
        family: tiny.tiny_run(folder / family, family, heldout=40, max_length=MAX_LENGTH)
        for family in ("llama", "gemma3_text", tiny.TRACED)
    }


@pytest.fixture(scope="module")
def bundles(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for precision in PRECISIONS:
        export_run(
            runs["llama"], folder / precision, ExportConfig(precision=precision, max_flips=100.0)
        )
    return {precision: folder / precision for precision in PRECISIONS}


def checkpoint_logits(run: Path, rows: list[dict[str, str]]) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "checkpoint")
    tokenizer = load_tokenizer(run / "checkpoint" / "tokenizer.json")
    prompts = [encode_prompt(tokenizer, TEMPLATE, row, MAX_LENGTH).ids for row in rows]
    with torch.inference_mode():
        return np.stack([model.eval()(torch.tensor([ids])).logits[0].numpy() for ids in prompts])


def tensors(bundle: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(bundle / MODEL).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


# --- precisions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "limit"), [("fp32", 1e-4), ("fp16", 0.02), ("int8", 0.25), ("int4", 1.0)]
)
def test_every_precision_answers_nearly_as_the_checkpoint(
    runs: dict[str, Path], bundles: dict[str, Path], precision: str, limit: float
) -> None:
    verify(bundles[precision])
    predictor = Predictor.load(bundles[precision], threads=1)
    expected = checkpoint_logits(runs["llama"], ROWS)
    found = predictor.logits(ROWS)
    assert tiny.relative_error(found, expected) < limit
    alone = np.concatenate([predictor.logits([row]) for row in ROWS])
    np.testing.assert_allclose(found, alone, atol=0.02 if precision == "fp16" else 1e-3)


def test_each_precision_is_about_as_small_as_its_bits(bundles: dict[str, Path]) -> None:
    whole = tensors(bundles["fp32"])
    weights = sum(x.size for name, x in whole.items() if x.ndim == 2 and "score" not in name)
    for precision, low, high in (("fp16", 2, 2.1), ("int8", 1, 1.4), ("int4", 0.5, 0.7)):
        size = sum(x.nbytes for x in tensors(bundles[precision]).values())
        assert low * weights < size < high * weights, precision


def test_the_manifest_says_what_onnxruntime_runs(bundles: dict[str, Path]) -> None:
    found = {name: read_manifest(path).provenance["export"] for name, path in bundles.items()}
    assert "MatMulNBits" in found["int4"]["operators"]
    assert "DynamicQuantizeMatMul" in found["int8"]["operators"]
    for precision in ("int8", "int4"):
        assert found[precision]["integer_constant_bytes"] > 10_000
        assert (
            found[precision]["float_constant_bytes"] < 0.4 * (found["fp32"]["float_constant_bytes"])
        )


def test_half_precision_of_local_layers_passes_its_gate(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    done = export_run(
        runs["gemma3_text"], tmp_path / "out", ExportConfig(precision="fp16", max_flips=10.0)
    )
    assert (done["precision"], done["exporter"], done["treatment"]) == ("fp16", "fused", "fp16")
    assert done["parity"]["examples"] == 30


def test_half_precision_needs_a_fused_graph(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--fp16 needs a fused graph.*mistral.*use --fp32"):
        export_run(runs[tiny.TRACED], tmp_path / "out", ExportConfig(precision="fp16"))
    assert list(tmp_path.iterdir()) == []


# --- targets --------------------------------------------------------------------------------


def test_every_target_loads() -> None:
    assert target_names() == ["cuda", "laptop-cpu", "size", "web"]
    for name in target_names():
        target = load_target(name)
        assert target.precision in PRECISIONS and target.description
        assert target.weight_bits == (7 if name == "web" else 8)


@pytest.mark.parametrize("name", ["phone", "", "../targets/web", "web.toml"])
def test_an_unknown_target_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="choose one of cuda, laptop-cpu, size, web"):
        load_target(name)


def test_the_web_target_has_seven_bit_weights(runs: dict[str, Path], tmp_path: Path) -> None:
    done = command(runs["llama"], tmp_path / "out", "--target", "web", "--max-flips", "100")
    assert done["precision"] == "int8"
    found = tensors(tmp_path / "out")
    largest = {name: np.abs(x.astype(int)).max() for name, x in found.items() if x.dtype == np.int8}
    assert largest.pop("embed_tokens.weight.int8") == 127  # not multiplied in 8 bits
    assert len(largest) == 8 and set(largest.values()) == {63}


# --- the command ----------------------------------------------------------------------------


def command(run: Path, out: Path, *options: str) -> dict[str, Any]:
    """What `edgecd export` prints as JSON; its errors are raised."""
    arguments = ["export", str(run), "--out", str(out), "--json", "--quiet", *options]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("options", "precision", "limit"),
    [
        ([], "fp32", 2.0),
        (["--fp16", "--max-flips", "30"], "fp16", 30.0),
        (["--int4", "--max-flips", "90"], "int4", 90.0),
        (["--target", "laptop-cpu", "--max-flips", "90"], "int8", 90.0),
        (["--target", "size", "--max-flips", "90"], "int4", 90.0),
        (["--target", "cuda", "--max-flips", "30"], "fp16", 30.0),
    ],
)
def test_options_choose_precision_and_limit(
    runs: dict[str, Path], tmp_path: Path, options: list[str], precision: str, limit: float
) -> None:
    done = command(runs["llama"], tmp_path / "out", *options)
    assert (done["precision"], done["parity"]["max_flips_pct"]) == (precision, limit)
    assert read_manifest(tmp_path / "out").precision == precision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8", "--int4"], "--int8 and --int4 exclude each other"),
        (["--target", "web", "--int8"], "leave out --int8"),
        (["--target", "phone"], "choose one of cuda"),
        (["--exporter", "magic"], "unknown exporter"),
        (["--trim-vocab", "nowhere.txt"], "no such corpus"),
    ],
)
def test_wrong_options_are_refused(
    runs: dict[str, Path], tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        command(runs["llama"], tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("isa", "said"),
    [
        (["avx2", "avx512_vnni", "amx_int8"], "AMX"),
        (["avx2", "avx_vnni"], "AVX-VNNI"),
        (["neon", "asimddp"], "NEON dot products"),
    ],
)
def test_what_multiplies_eight_bits_is_named(isa: list[str], said: str) -> None:
    assert int8_products(isa) == said
    assert int8_products([]) not in (said, "")


# --- a smaller vocabulary -------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(runs: dict[str, Path]) -> Path:
    """The held-out inputs and some more, a row each."""
    path = runs["llama"].parent / "corpus.jsonl"
    rows = [json.loads(line) for line in (runs["llama"] / "heldout.jsonl").open(encoding="utf-8")]
    return tiny.write_jsonl(path, [*rows, *ROWS, *({"fields": row} for row in ROWS)])


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_trimmed_bundle_answers_as_the_checkpoint(
    runs: dict[str, Path], corpus: Path, tmp_path: Path, family: str
) -> None:
    export_run(runs[family], tmp_path / "out", ExportConfig(trim_vocab=corpus, max_flips=0.0))
    verify(tmp_path / "out")
    predictor = Predictor.load(tmp_path / "out", threads=1)
    found, expected = predictor.logits(ROWS), checkpoint_logits(runs[family], ROWS)
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))

    said = read_manifest(tmp_path / "out").provenance["vocabulary"]
    before = len(tiny.tiny_tokenizer())
    assert said["of"] == before and 256 < said["kept"] < before
    assert said["texts"] == 40 + 2 * len(ROWS)
    table = next(x for name, x in tensors(tmp_path / "out").items() if "embed_tokens" in name)
    assert len(table) == said["kept"] == predictor.tokenizer.get_vocab_size()


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_a_trimmed_bundle_takes_any_text(
    runs: dict[str, Path], corpus: Path, tmp_path: Path, precision: str
) -> None:
    out = tmp_path / "out"
    export_run(
        runs["llama"],
        out,
        ExportConfig(precision=precision, max_flips=100.0, trim_vocab=corpus),
    )
    verify(out)
    predictor = Predictor.load(out, threads=1)
    whole = load_tokenizer(runs["llama"] / "checkpoint" / "tokenizer.json")
    for row in UNSEEN:
        answer = predictor.predict(row)
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        prompt = TEMPLATE.render(row)
        found, expected = predictor.tokenizer.encode(prompt), whole.encode(prompt)
        said = whole.decode(expected.ids, skip_special_tokens=False)
        assert predictor.tokenizer.decode(found.ids, skip_special_tokens=False) == said


def test_a_traced_graph_is_trimmed_quantized_and_gated_too(
    runs: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    run, out = runs[tiny.TRACED], tmp_path / "out"
    done = export_run(run, out, ExportConfig(precision="int8", max_flips=100.0, trim_vocab=corpus))
    assert (done["exporter"], done["prefix_tokens"]) == ("torch", 0)
    verify(out)
    found = Predictor.load(out, threads=1).logits(ROWS)
    assert tiny.relative_error(found, checkpoint_logits(run, ROWS)) < 0.25


def test_a_corpus_of_lines_serves_every_field(runs: dict[str, Path], tmp_path: Path) -> None:
    lines = [text for row in ROWS for text in row.values()]
    held = [json.loads(line) for line in (runs["llama"] / "heldout.jsonl").open(encoding="utf-8")]
    lines += [text for row in held for text in row["fields"].values()]
    (tmp_path / "corpus.txt").write_text("\n\n".join(lines), encoding="utf-8")
    done = command(runs["llama"], tmp_path / "out", "--trim-vocab", str(tmp_path / "corpus.txt"))
    assert done["parity"]["label_flips"] == 0
    assert read_manifest(tmp_path / "out").provenance["vocabulary"]["texts"] == len(lines)
    untrimmed = (runs["llama"] / "checkpoint" / "tokenizer.json").stat().st_size
    assert (tmp_path / "out" / TOKENIZER).stat().st_size < untrimmed


def test_a_line_of_a_file_ends_at_a_line_feed_only(runs: dict[str, Path], tmp_path: Path) -> None:
    rows = [*tiny.examples(8), *({"fields": row, "label": None} for row in UNSEEN)]
    for row in rows:
        row["fields"] = {**row["fields"], "premise": "a\u2028b\u2029c\x85d"}
    run = tiny.tiny_run(tmp_path / "run", max_length=MAX_LENGTH)
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (run / "heldout.jsonl").write_text(text, encoding="utf-8")
    done = export_run(run, tmp_path / "out", ExportConfig(trim_vocab=run / "heldout.jsonl"))
    assert done["parity"]["examples"] == len(rows) - 3
    assert read_manifest(tmp_path / "out").provenance["vocabulary"]["texts"] == len(rows)


def test_a_corpus_that_lacks_the_held_out_words_is_refused_by_the_gate(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "corpus.txt").write_text("zzz\n", encoding="utf-8")
    with pytest.raises(CheckFailed, match="fp32"):
        export_run(
            runs["llama"], tmp_path / "out", ExportConfig(trim_vocab=tmp_path / "corpus.txt")
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "no such corpus file"),
        ("empty.txt", b"", "empty.txt is empty"),
        ("blank.jsonl", b"\n  \n", "blank.jsonl is empty"),
        (
            "rows.jsonl",
            b'{"premise": "a", "hypothesis": "b"}\n{oops\n',
            r"rows\.jsonl:2: not a JSON",
        ),
        ("rows.jsonl", b"[1]\n", r"rows\.jsonl:1: not a JSON object"),
        ("rows.jsonl", b'{"premise": "a"}\n', r"rows\.jsonl:1: field 'hypothesis'"),
        ("rows.jsonl", b'{"fields": 3}\n', r"rows\.jsonl:1: "),
        ("latin.txt", "Füße".encode("latin-1"), r"latin\.txt"),
    ],
)
def test_a_corpus_that_is_none_is_named(
    runs: dict[str, Path], tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        export_run(runs["llama"], tmp_path / "out", ExportConfig(trim_vocab=tmp_path / name))
    assert not (tmp_path / "out").exists()
