"""What kind of model a configuration is of: encoders, which read whole texts and predict none."""

from __future__ import annotations

from typing import Any

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


def is_encoder(config: Any) -> bool:
    """Whether a model's configuration (see `load_model_config`) is of an encoder known here."""
    return str(config.model_type) in ENCODERS
