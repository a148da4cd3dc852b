"""Families of models by the name that config.json gives them, read without loading anything."""

from __future__ import annotations

from pathlib import Path

from edgecd.files import read_json
from edgecd.host.hub import cached_file

CONFIG = "config.json"
# Families that read a text, or a pair of texts, at once and have a standard text classifier.
ENCODERS = (
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)


def family_of(model: str) -> str | None:
    """The family of a local folder or of a hub's model that is on this machine; None if unknown.

    Raises InputError for a config.json that is no JSON.
    """
    path = Path(model).expanduser() / CONFIG
    file = path if path.is_file() else cached_file(model, CONFIG)
    if file is None:
        return None
    values = read_json(file)
    name = values.get("model_type") if isinstance(values, dict) else None
    return name if isinstance(name, str) else None
