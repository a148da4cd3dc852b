"""Whether what a row of the benchmark needs is installed, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec

# Distributions whose name is not that of their module.
_PACKAGES = {
    "llama_cpp": "llama-cpp-python",
    "onnx_ir": "onnx-ir",
    "optimum.onnxruntime": "optimum-onnx",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
}


def missing_reason(name: str, needs: Sequence[str], advice: str = "") -> str:
    """What `name` needs of modules that are not installed, and the command for it; empty if none.

    `advice` stands for the command where the packages' names alone would not do.
    """
    missing = [_PACKAGES.get(need, need) for need in needs if not is_there(need)]
    if not missing:
        return ""
    command = advice or f"pip install {' '.join(missing)}"
    return f"{name} needs {listed(missing)}: {command}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def is_there(module: str) -> bool:
    """Whether a module can be found; unlike `find_spec` alone, its package is not imported."""
    package = find_spec(module.partition(".")[0])
    if package is None or "." not in module:
        return package is not None
    return PathFinder.find_spec(module, package.submodule_search_locations) is not None
