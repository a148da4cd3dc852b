"""Parity samples: neutral sentences with the logits the bundle gave where it was exported."""

from __future__ import annotations

import random

from edgecd.formats.manifest import Sample
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.prompts import PromptTemplate

# Plain words only: a bundle is published, and must not carry anybody's data.
_WORDS = (  # noqa: SIM905 (a list would be 60 lines)
    "the a one some many every no old new small large quiet bright slow early morning evening "
    "river stone bridge garden window table paper letter clock train station market teacher "
    "farmer child painter bird horse apple bread water music number story opens closes carries "
    "finds keeps leaves crosses follows remembers under over near behind between before after "
    "and but because never often today"
).split()
_LENGTHS = (2, 4, 7, 11, 16, 24, 40)  # words a field
_LONG_LIMIT = 1_024  # tokens: above it, a sample that is too long would swell the manifest


def sample_fields(template: PromptTemplate, max_length: int) -> list[dict[str, str]]:
    """Inputs of growing length made of built-in words; the last one is over `max_length`."""
    lengths = [*_LENGTHS, max_length] if max_length <= _LONG_LIMIT else [*_LENGTHS]
    return [
        {name: _sentence(f"{number} {name}", length) for name in template.fields}
        for number, length in enumerate(lengths)
    ]


def record_samples(predictor: Predictor) -> tuple[Sample, ...]:
    """Samples with their tokens and logits as this predictor gives them, one at a time."""
    recorded = []
    for fields in sample_fields(predictor.template, predictor.manifest.max_length):
        (encoded,) = predictor.encode([fields])
        logits = predictor.run([encoded])[0]
        recorded.append(Sample(fields, tuple(encoded.ids), tuple(logits.tolist())))
    return tuple(recorded)


def _sentence(seed: str, words: int) -> str:
    return " ".join(random.Random(seed).choices(_WORDS, k=words)).capitalize() + "."
