"""Context files: what is written reads back, and what a stranger sends is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecd.errors import CheckFailed, EdgecdError, InputError
from edgecd.formats.context import (
    METADATA,
    Context,
    ContextFacts,
    describe_context,
    read_context,
    refuse_other_model,
    write_context,
)

SLOW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(
    layers: int = 2, heads: int = 2, positions: int = 4, size: int = 8, seed: int = 0, **facts: Any
) -> Context:
    chance = np.random.default_rng(seed)
    values = {
        "method": "mend",
        "model": "tiny",
        "fingerprint": "0" * 64,
        "task": "pairs",
        "labels": ("no", "yes"),
        "verbalizer": {"yes": " Yes", "no": " No"},
        "template": "{a} and {b}?",
        "max_length": 32,
        "shots": 4,
        "context_tokens": 90,
        "calibration": (-0.5, -1.25),
        "provenance": {"seed": 3},
        **facts,
    }
    past = chance.normal(size=(layers, 2, heads, positions, size)).astype(np.float32)
    head = chance.normal(size=(2, heads * size)).astype(np.float32)
    return Context(ContextFacts(**values), past, head)


@SLOW
@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    positions=st.integers(1, 9),
    size=st.sampled_from([2, 8]),
    seed=st.integers(0, 99),
    task=st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
    precision=st.sampled_from(["int8", "fp16"]),
)
def test_what_is_written_reads_back(
    tmp_path: Path, task: str, precision: str, **sizes: int
) -> None:
    context = make(**sizes, task=task)
    path = tmp_path / "context.safetensors"
    write_context(path, context, precision)
    found = read_context(path)
    assert found.facts == context.facts
    assert found.positions == sizes["positions"]
    np.testing.assert_array_equal(found.head, context.head)
    scale = np.abs(context.past).max()
    bound = scale / 120 if precision == "int8" else scale / 1000
    assert np.abs(found.past - context.past).max() <= bound


@SLOW
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_refused(tmp_path: Path, place: float, bit: int) -> None:
    path = tmp_path / "context.safetensors"
    write_context(path, make())
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(EdgecdError):
        read_context(path)


@SLOW
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_context_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "context.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_context(path)


def resigned(path: Path, context: Context, change: dict[str, Any]) -> None:
    """Write a context whose facts were changed, and whose hash is right again."""
    from safetensors.numpy import load, save

    from edgecd.formats import context as module

    write_context(path, context)
    content = path.read_bytes()
    facts = module._metadata(content)
    facts.pop("sha256")
    facts |= change
    tensors = load(content)
    facts["sha256"] = module._digest(facts, tensors)
    path.write_bytes(save(tensors, metadata={METADATA: json.dumps(facts)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "update edgecd"),
        ({"method": "magic"}, "is not one of none, mend"),
        ({"labels": ["yes"]}, "labels and the keys of verbalizer"),
        ({"labels": ["yes", "no", "maybe"]}, "labels and the keys of verbalizer"),
        ({"template": "{a.__class__}"}, "plain name"),
        ({"template": ""}, "template must be text"),
        ({"max_length": 0}, "whole number"),
        ({"max_length": True}, "whole number"),
        ({"shots": -1}, "whole number"),
        ({"calibration": [0.0]}, "calibration has 1 values"),
        ({"calibration": [0.0, float("inf")]}, "finite"),
        ({"language_model": "tiny"}, "must be an object"),
        ({"verbalizer": {"yes": " Yes", "no": " Yes"}}, "share the word"),
    ],
)
def test_facts_that_make_no_sense_are_refused_although_the_hash_is_right(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "context.safetensors"
    resigned(path, make(), change)
    with pytest.raises(InputError, match=message):
        read_context(path)


def test_a_context_belongs_to_one_model() -> None:
    facts = make().facts
    refuse_other_model(facts, "0" * 64, "tiny")
    with pytest.raises(InputError, match="was made for tiny .* not for other"):
        refuse_other_model(facts, "1" * 64, "other")


def test_values_that_are_no_numbers_and_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "context.safetensors"
    context = make()
    context.head[0, 0] = np.nan
    write_context(path, context, "fp16")
    with pytest.raises(InputError, match="no finite numbers"):
        read_context(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(InputError, match="no such context file"):
        read_context(tmp_path / "link")


def test_a_changed_value_is_told_from_a_malformed_file(tmp_path: Path) -> None:
    path = tmp_path / "context.safetensors"
    write_context(path, make())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of a tensor
    path.write_bytes(content)
    with pytest.raises(CheckFailed, match="changed or damaged"):
        read_context(path)


def test_the_description_has_what_a_person_asks(tmp_path: Path) -> None:
    path = tmp_path / "context.safetensors"
    write_context(path, make())
    facts = describe_context(path)
    assert facts["positions"] == 4 and facts["layers"] == 2
    assert facts["size_bytes"] == path.stat().st_size
    assert facts["language_model"]["name"] == "tiny"
