"""Whose licences a bundle is under: what models state, and what the card says of it."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecd.errors import InputError
from edgecd.formats.card import model_card
from edgecd.lm.licences import stated_licence
from tests.unit.test_bundle import FACTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("readme", "stated"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ("# A model\n\nlicense: mit\n", None),
        ("---\nlicense: [unclosed\n---\n", None),
        ("---\nlicense: 3\n---\n", None),
        (f"---\nlicense: {'x' * 65}\n---\n", None),
        (None, None),
    ],
)
def test_a_models_licence_is_what_its_readme_states(
    tmp_path: Path, readme: str | None, stated: str | None
) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    assert stated_licence(str(tmp_path)) == stated
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert stated_licence(str(tmp_path / "model.gguf")) == stated


def test_a_model_of_the_hub_that_cannot_be_had_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecd.host import hub

    def refuse(name: str, *_: Any) -> str:
        raise InputError(f"{name}: not here")

    monkeypatch.setattr(hub, "_resolve", refuse)
    with pytest.raises(InputError, match="some/licensed-model"):
        stated_licence("some/licensed-model")


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (
            {"student": "small", "teacher": "big", "licences": {"student": "mit", "teacher": None}},
            [
                "trained from those of `small`, whose licence is `mit`, as its README says.",
                "outputs of `big`, whose licence is not stated here.",
            ],
        ),
        (  # fine-tuned without a teacher
            {"student": "small", "teacher": "big", "licences": {"student": "mit"}},
            ["those of `small`, whose licence is `mit`"],
        ),
        (
            {"model": "frozen", "licences": {"model": "apache-2.0"}},
            ["It holds the weights of `frozen`, whose licence is `apache-2.0`"],
        ),
        ({"student": "small"}, ["those of `small`, whose licence is not stated here."]),
        ({}, ["What it was made from is not recorded."]),
    ],
)
def test_a_card_names_the_models_whose_licences_apply(
    made: dict[str, Any], lines: list[str]
) -> None:
    card = model_card(replace(FACTS, provenance=made), "it")
    section = card.split("## Licences\n\n")[1].split("\n\n## Provenance")[0]
    found = [line for line in section.splitlines() if line.startswith("- ")]
    assert len(found or [section]) == len(lines)
    for line, wanted in zip(found or [section], lines, strict=True):
        assert wanted in line


def test_the_page_of_licences_has_every_direct_dependency() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    left_out = {"demo", "dev", "docs", "gpu", "optimum"}
    wanted = [*project["dependencies"]]
    for extra, needs in project["optional-dependencies"].items():
        wanted += needs if extra not in left_out else []
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    named = {canonicalize_name(line.split(" | ")[0][2:]) for line in page.splitlines()}
    assert {canonicalize_name(Requirement(one).name) for one in wanted} <= named


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    def versions(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pairs = [line.split()[0].split("==") for line in lines if "==" in line]
        return {one.lower().replace("_", "-"): version for one, version in pairs}

    known, locked = versions("constraints.txt"), versions("requirements.lock")
    assert {name: known[name] for name in locked if name in known} == {
        name: version for name, version in locked.items() if name in known
    }
    assert {"edgecd", *locked} >= {"torch", "transformers", "onnxruntime", "tokenizers"}
