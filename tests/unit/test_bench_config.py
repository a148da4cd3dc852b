"""What `edgecd bench` is asked: its defaults, its lists, and what may be published of it."""

from __future__ import annotations

import pytest

from edgecd.bench.config import FEW_SHOTS, BenchConfig
from edgecd.errors import InputError


def test_lists_are_text_with_commas_between() -> None:
    asked = BenchConfig("mnli", few_shots="4, 16", baselines="a,b", peers="all", prompt_runtimes="")
    assert asked.fewer == (4, 16)
    assert asked.chosen_baselines == ("a", "b")
    assert (asked.chosen_peers, asked.chosen_runtimes) == (("all",), ())
    plain = BenchConfig("mnli")
    assert plain.fewer == FEW_SHOTS and plain.chosen_peers == ()
    assert plain.chosen_baselines is None and plain.chosen_runtimes is None
    assert BenchConfig("mnli", baselines="all").chosen_baselines is None
    assert BenchConfig("mnli", baselines="none", few_shots="none").chosen_baselines == ()


@pytest.mark.parametrize("name", ["rounds", "draws", "limit"])
def test_at_least_one_is_needed(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} 0: at least one is needed"):
        BenchConfig("mnli", **{name: 0})  # type: ignore[arg-type]


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match="--few-shots four: write whole numbers"):
        _ = BenchConfig("mnli", few_shots="four").fewer


def test_paths_are_published_by_their_last_part() -> None:
    told = BenchConfig("/home/me/task.toml", ood=("/home/me/far.toml", "hans")).published()
    assert (told["task"], told["ood"], told["rounds"]) == ("task.toml", ["far.toml", "hans"], 3)
