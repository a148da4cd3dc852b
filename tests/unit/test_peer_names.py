"""Which other runtimes there are, which of them are installed, and what the rest need."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from edgecd.bench import needs, peers
from edgecd.errors import InputError


def hide(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """An environment in which everything is there but `missing`."""
    monkeypatch.setattr(needs, "is_there", lambda module: module not in missing)


def test_what_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino", "nncf", "llama_cpp", "optimum.onnxruntime")
    said = peers.missing_reason("openvino-int8")
    assert said == "openvino-int8 needs openvino and nncf: pip install openvino nncf"
    # The package to install has another name than the module.
    assert peers.missing_reason("llama.cpp-q8_0").endswith("pip install llama-cpp-python")
    # Beside transformers 5 it would take that away.
    assert "an environment of its own" in peers.missing_reason("optimum-dynamic-int8")
    assert peers.missing_reason("torch-fp32") == ""
    assert peers.installed() == (
        "torch-fp32",
        "torch-bf16",
        "ort-fp32",
        "ort-dynamic-int8",
        "ort-dynamic-int8-nospin",
        "ctranslate2-int8",
    )


def test_a_runtime_without_what_converts_for_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "nncf")
    assert "openvino-int8" not in peers.installed()
    assert set(peers.NAMES) - set(peers.installed()) == {"openvino-int8", "openvino-int8-f32"}


def test_an_unknown_peer_is_refused_with_the_nearest_one() -> None:
    for ask in (peers.find, peers.missing_reason):
        with pytest.raises(InputError, match=r"unknown peer 'openvino'.*did you mean 'openvino-"):
            ask("openvino")


def test_modules_are_looked_up_without_importing_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "inner.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError):  # what the usual way does
        importlib.util.find_spec("loud_package.inner")
    assert needs.is_there("loud_package.inner")
    assert not needs.is_there("loud_package.outer")
    assert not needs.is_there("no_such_package.inner")
    assert "loud_package" not in sys.modules
