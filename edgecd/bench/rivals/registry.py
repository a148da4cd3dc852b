"""The rivals by name, and what each needs. Nothing of them is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.bench import needs
from edgecd.errors import InputError, suggest


@dataclass(frozen=True)
class Rival:
    """One way to learn a classifier from k labelled examples, and the `module` for it.

    `needs` are the modules that it takes, `advice` the command that installs them; one with a
    `sentence_encoder` starts from such a model. `runtime` is what runs it. One that is not `usual`
    is measured when it is asked for.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    advice: str
    runtime: str
    sentence_encoder: bool = False
    usual: bool = True

    @property
    def path(self) -> str:
        """The whole name of its module."""
        return f"{__package__}.{self.module}"

    @property
    def system(self) -> str:
        """The name of its row: a bundle may well be called `encoder`."""
        return f"rival-{self.name}"


_RIVALS, _TRAIN = "pip install 'edgecd[rivals]'", "pip install 'edgecd[train]'"
_BOTH = "pip install 'edgecd[train,rivals]'"
_SETFIT = "pip install 'edgecd[train,rivals]' setfit"  # 1.2 goes with transformers 5
_TORCH = ("torch", "transformers")
RIVALS = (
    Rival("majority", "majority", (), "", "numpy"),
    Rival("tfidf", "tfidf", ("sklearn",), _RIVALS, "scikit-learn"),
    Rival("embeddings", "embeddings", ("sklearn", *_TORCH), _BOTH, "torch", True),
    Rival("encoder", "encoder", _TORCH, _TRAIN, "torch", True),
    Rival(
        "setfit",
        "setfit",
        ("setfit", "sentence_transformers", "sklearn", *_TORCH),
        _SETFIT,
        "torch",
        True,
        usual=False,
    ),
)
NAMES = tuple(rival.name for rival in RIVALS)


def find(name: str) -> Rival:
    """The rival of that name; InputError, with the nearest one, when there is none."""
    for rival in RIVALS:
        if rival.name == name:
            return rival
    raise InputError(
        f"unknown rival {name!r}: choose from {', '.join(NAMES)}" + suggest(name, NAMES)
    )


def missing_reason(name: str) -> str:
    """What a rival needs that is not installed, and the command for it; empty when all is there."""
    rival = find(name)
    return needs.missing_reason(name, rival.needs, rival.advice)
