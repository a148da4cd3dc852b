"""Who may import whom, proven in fresh interpreters (the table of the design)."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgecd

ROOT = Path(edgecd.__file__).parent.parent
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "onnxruntime",
    "tokenizers",
    "safetensors",
    "datasets",
    "pyarrow",
    "matplotlib",
    "huggingface_hub",
    "starlette",
    "uvicorn",
)
# What reads a language model or an encoder, each in a process of its own.
TORCH_BASELINES = (
    "edgecd.bench.systems.torch_prompt",
    "edgecd.bench.systems.prompt_models",
    "edgecd.lm.text_encoder",
)
TORCH_SIDE = ("torch", "transformers", "peft", "accelerate")
# Package -> what importing any of its modules must not load.
HIGH = ("edgecd.training", "edgecd.export", "edgecd.bench")
FORBIDDEN = {
    "light": (*HEAVY, "edgecd.runtime", "edgecd.lm", *HIGH),
    "formats": (*HEAVY, "edgecd.runtime", "edgecd.lm", *HIGH),
    "host": (*HEAVY, "edgecd.runtime", "edgecd.lm", *HIGH),
    "plotting": (*HEAVY, "edgecd.runtime", "edgecd.lm", *HIGH),
    "tasks": (*HEAVY, "edgecd.runtime", "edgecd.lm", *HIGH),
    "cli": (*HEAVY, "numpy"),
    "runtime": (*TORCH_SIDE, "onnx", "edgecd.lm", *HIGH),
    "serve": (*TORCH_SIDE, "onnx", "edgecd.lm", *HIGH),
    "bench": (*TORCH_SIDE, "onnx", "edgecd.export", "edgecd.lm", "edgecd.training", "matplotlib"),
    "sweep": (
        *TORCH_SIDE,
        "onnx",
        "onnxruntime",
        "edgecd.lm",
        "edgecd.training.distil",
        "edgecd.training.loop",
        "edgecd.export",
        "matplotlib",
    ),
    "export": (*TORCH_SIDE, "edgecd.lm", "edgecd.training", "edgecd.bench"),
    "contexts": (
        "onnx",
        "onnxruntime",
        "edgecd.export",
        "edgecd.runtime",
        "edgecd.bench",
        "matplotlib",
    ),
    "training": ("onnx", "onnxruntime", "edgecd.export", "edgecd.runtime", "edgecd.bench"),
    "lm": ("onnx", "onnxruntime", "edgecd.export", "edgecd.runtime", "edgecd.bench"),
}


def modules(package: str) -> list[str]:
    """Every module of a sub-package, or of the top level (`light`, which is all but the cli)."""
    if package == "cli":
        return ["edgecd.cli"]  # which registers all commands
    if package == "light":
        names = [one.name for one in pkgutil.iter_modules(edgecd.__path__) if not one.ispkg]
        return [f"edgecd.{name}" for name in names if name not in ("cli", "__main__")]
    folder = str(ROOT / "edgecd" / package)
    found = pkgutil.walk_packages([folder], f"edgecd.{package}.")
    names = [one.name for one in found if not one.name.endswith("__main__")]
    return [name for name in names if name not in TORCH_BASELINES]


def fresh(code: str) -> str:
    """What `code` prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_a_package_loads_nothing_that_it_may_not_use(package: str) -> None:
    names = modules(package)
    if not names:
        pytest.skip(f"edgecd has no {package} yet")
    loaded = fresh(
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    print(*[(name, x) for x in {FORBIDDEN[package]!r} if x in sys.modules])\n"
    )
    assert loaded.split() == []


def test_the_predictor_is_offered_lazily() -> None:
    seen = "print('numpy' in sys.modules)"
    code = f"import sys, edgecd; {seen}; edgecd.Predictor; {seen}"
    assert fresh(code).split() == ["False", "True"]


@pytest.mark.parametrize("missing", ["onnxruntime"])
def test_a_missing_extra_is_one_sentence_that_names_it(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from pathlib import Path\n"
        "from edgecd.errors import MissingExtra\n"
        "from edgecd.runtime.session import open_session\n"
        "try: open_session(Path('model.onnx'))\n"
        "except MissingExtra as said: print(said)\n"
    )
    assert "pip install 'edgecd[cpu]'" in fresh(code)
