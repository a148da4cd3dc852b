"""A bundle is hostile input: everything that is not exactly one is refused, with a reason."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecd.errors import CheckFailed, InputError
from edgecd.formats.bundle import MAX_MANIFEST_BYTES, check_files, read_manifest, write_bundle
from edgecd.formats.card import model_card
from edgecd.formats.manifest import (
    ENCODER_FORMAT,
    FORMAT,
    MANIFEST,
    MODEL,
    README,
    TOKENIZER,
    Manifest,
    Sample,
    TensorSpec,
    manifest_json,
    parse_manifest,
)
from edgecd.runtime.inspect import describe, render

FILES = ["model.onnx", "tokenizer.json", "README.md"]  # of a classifier
FACTS = Manifest(
    task="tiny",
    labels=("yes|no", "no`way"),
    verbalizer={"yes|no": " Yes", "no`way": " No"},
    template="{a}\n```\n{b} or {{not}}?",
    max_length=32,
    pad_token_id=0,
    prefix_ids=(1, 2),
    precision="fp32",
    inputs={name: TensorSpec("int64", ("batch", "sequence")) for name in ("input_ids", "mask")},
    outputs={"logits": TensorSpec("float32", ("batch", 2))},
    parity={
        "examples": 10,
        "label_flips": 0,
        "max_abs_logit_diff": 1e-6,
        "accuracy_checkpoint": 0.5,
        "accuracy_bundle": None,
        "tried": [],
    },
    provenance={"teacher": "big", "student": "small", "shots": 4, "seed": None},
    samples=(Sample({"a": "x", "b": "y"}, (1, 2), (0.5, -0.5)),),
)
EMPTY_GRAPH = b"\x08\x09"  # ir_version 9, nothing else


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    model = tmp_path / "graph.onnx"
    model.write_bytes(EMPTY_GRAPH)
    write_bundle(tmp_path / "bundle", FACTS, model, "{}")
    return tmp_path / "bundle"


def edit(bundle: Path, **changes: Any) -> None:
    path = bundle / MANIFEST
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def test_what_is_written_reads_back_and_holds_exactly_four_files(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    check_files(bundle, manifest)
    assert {path.name for path in bundle.iterdir()} == {MANIFEST, *FILES}
    assert set(manifest.files) == set(FILES)
    assert (manifest.labels, manifest.prompt.text) == (FACTS.labels, FACTS.template)
    assert parse_manifest(json.loads(json.dumps(manifest_json(manifest)))) == manifest


def test_an_existing_bundle_is_replaced_only_by_force(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--force"):
        write_bundle(bundle, FACTS, tmp_path / "graph.onnx", "{}")
    write_bundle(bundle, FACTS, tmp_path / "graph.onnx", "[]", force=True)
    assert (bundle / TOKENIZER).read_text() == "[]"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "bundle", FACTS, tmp_path / "absent.onnx", "{}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_and_the_file_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=f"{name} has been changed"):
        check_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_longer_file_is_named(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content + b"\n")
    with pytest.raises(CheckFailed, match=f"{name} has {len(content) + 1} bytes"):
        check_files(bundle, read_manifest(bundle))
    (bundle / name).unlink()
    with pytest.raises(CheckFailed, match=f"{name} is missing"):
        check_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_link_is_refused_even_to_the_same_content(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / "elsewhere")
    (bundle / name).symlink_to(bundle.parent / "elsewhere")
    with pytest.raises(InputError, match=f"{name} must be a plain file"):
        check_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "sub/model.onnx", "model.onnx.data", ".", MANIFEST]
)
def test_only_the_bundles_own_file_names_are_allowed(bundle: Path, name: str) -> None:
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    edit(bundle, files={**files, name: files[README]})
    with pytest.raises(InputError, match="is not one of"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "key", [key for key in manifest_json(FACTS) if key not in ("language_model", "threshold")]
)
def test_every_key_is_needed_and_a_missing_one_is_named(bundle: Path, key: str) -> None:
    edit(bundle, **{key: ...})
    with pytest.raises(InputError, match=f"'{key}' is missing"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": ENCODER_FORMAT + 1}, "update edgecd"),
        ({"format": ENCODER_FORMAT, "form": "prompt"}, "form must be text or pair"),
        ({"format": True}, "whole number"),
        ({"labels": ["yes|no", "yes|no"]}, "labels and the keys of verbalizer"),
        ({"labels": ["yes|no"]}, "labels and the keys of verbalizer"),
        ({"labels": "yes|no"}, "labels must be a list"),
        ({"verbalizer": {"yes|no": " Yes", "no`way": " Yes"}}, "share the word"),
        ({"verbalizer": {"yes|no": " Yes", "no`way": 3}}, "must be text"),
        ({"template": "no place"}, "no place for the input"),
        ({"template": "{a.__class__} {b}"}, "plain name"),
        ({"template": "{a!r} {b}"}, "plain name"),
        ({"template": "{a"}, "literal brace"),
        ({"template": "{a} {c}"}, "not those of the template"),
        ({"template": "{a} {b} \ud800"}, "Unicode"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 1e9}, "max_length"),
        ({"max_length": 10**400}, "max_length"),
        ({"pad_token_id": -1}, "pad_token_id"),
        ({"prefix_ids": 1}, "prefix_ids must be a list"),
        ({"prefix_ids": [1, -1]}, "prefix_ids must be a whole number"),
        ({"prefix_ids": [1, "2"]}, "prefix_ids must be a whole number"),
        ({"format": FORMAT - 1}, "export the run again"),
        ({"precision": "int3"}, "is not one of fp32"),
        ({"inputs": []}, "inputs must be an object"),
        ({"parity": {}}, "is missing"),
        ({"samples": [{"fields": {"a": "", "b": ""}}]}, "missing"),
        ({"samples": [{"fields": {}, "input_ids": [1], "logits": [1.0]}]}, "1 logits for 2"),
        ({"samples": [{"fields": {}, "input_ids": [], "logits": [10**99, 1]}]}, "finite"),
        ({"files": {}}, "model.onnx is missing"),
        ({"files": {MODEL: {"sha256": "0" * 63, "size_bytes": 1}}}, "64 hexadecimal"),
        ({"files": {MODEL: {"sha256": "0" * 64, "size_bytes": 1 << 40}}}, "size_bytes"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(
    bundle: Path, change: dict[str, Any], message: str
) -> None:
    edit(bundle, **change)
    with pytest.raises(InputError, match=message):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"format": 1, "format": 2}', "appears twice"),
        (b'{"format": NaN}', "NaN"),
        (b'{"format": ' + b"9" * 5_000 + b"}", "not valid JSON"),
        (b"[]", "must be an object"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "not a manifest"),
    ],
)
def test_a_manifest_that_is_no_manifest(bundle: Path, content: bytes, message: str) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_manifest(bundle)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        read_manifest(tmp_path / "absent")
    with pytest.raises(InputError, match="not a bundle"):
        read_manifest(tmp_path)


def test_unknown_keys_are_for_later_versions(bundle: Path) -> None:
    edit(bundle, later={"a": 1})
    read_manifest(bundle)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(sorted(manifest_json(FACTS))), value=anything)
def test_whatever_a_key_holds_the_answer_is_a_manifest_or_an_input_error(
    key: str, value: Any
) -> None:
    record = {"sha256": "0" * 64, "size_bytes": 1}
    raw = manifest_json(FACTS) | {"files": {MODEL: record, TOKENIZER: record}}
    raw = json.loads(json.dumps(raw)) | {key: value}
    with contextlib.suppress(InputError):
        assert isinstance(parse_manifest(raw), Manifest)


def test_the_card_shows_labels_template_figures_and_a_call_that_runs(bundle: Path) -> None:
    card = (bundle / README).read_text()
    assert "````text\n" + FACTS.template + "\n````" in card  # the template holds a fence
    assert "yes\\|no" in card
    assert "`` no`way ``" in card
    assert "`teacher` | `big`" in card
    assert "`max_abs_logit_diff` | `1e-06`" in card
    call = card.split("```python\n")[1].split("```")[0]
    assert len(call.strip().splitlines()) == 3
    compile(call, "card", "exec")


@pytest.mark.parametrize(
    ("form", "fields", "words"),
    [("text", ("a",), "The text of `a`"), ("pair", ("a", "b"), "The pair of `a` and `b`")],
)
def test_the_card_and_the_table_of_an_encoder_have_neither_words_nor_template(
    form: Any, fields: tuple[str, ...], words: str
) -> None:
    facts = replace(
        FACTS,
        form=form,
        template=f"Read {' '.join(f'{{{name}}}' for name in fields)} now:",
        provenance={**FACTS.provenance, "layers": 3},
    )
    card = model_card(facts, "it")
    assert f"## Input\n\n{words}, without a template." in card
    assert "| 0 | `yes\\|no` |\n" in card
    assert "Read" not in card and " Yes" not in card
    assert "Student `small` (3 of its layers)" in card
    described = {**manifest_json(facts), "fields": list(fields), "samples": 1}
    shown = as_text({"bundle": "it", "size_bytes": 1, **described})
    assert words.replace("`", "") in shown and "yes|no, no`way" in shown
    assert "Read" not in shown and " Yes" not in shown


def as_text(description: dict[str, Any]) -> str:
    """What `inspect` prints."""
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(description))
    return console.export_text()


def test_describe_is_json_and_the_table_shows_the_figures(bundle: Path) -> None:
    facts = describe(bundle)
    assert json.loads(json.dumps(facts))["fields"] == ["a", "b"]
    assert facts["size_bytes"] == sum(path.stat().st_size for path in bundle.iterdir())
    shown = as_text(facts)
    for expected in ("yes|no = ' Yes'", "parity.examples", "provenance.teacher", "fp32"):
        assert expected in shown
