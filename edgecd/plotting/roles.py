"""What a system can be in a comparison, one row a role: where it stands, and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TEACHER, TEACHER_CACHED = "teacher-icl", "teacher-icl-cached"
SAME_SIZE, SAME_SIZE_CACHED = "same-size-icl", "same-size-icl-cached"
ZERO_SHOT = "same-size-zero-shot"
STUDENT, PBFT, MEND, PROMPT_TUNING = "student", "pbft", "mend", "prompt-tuning"
CONTEXT, PEER, RIVAL = "context", "peer", "rival"


@dataclass(frozen=True)
class Role:
    """One role; its rows stand under `heading` in tables.

    `colour` has a contrast of 3 or more on white and on near-black; `marker` is a second mark (of
    matplotlib) for readers who don't see it. A prompt has the `model` whose prompt it is, `words`
    for its line in a figure, and reads its demonstrations once where it is `cached`. A role with
    `accuracy_from` has the answers of that other role, and only its latency is measured: a naive
    row reads the whole prompt for each query, and answers as the cached one does.
    """

    name: str
    heading: str
    colour: str
    marker: str
    model: Literal["teacher", "student"] | None = None
    words: str = ""
    cached: bool = False
    accuracy_from: str | None = None


_TEACHER, _SAME_SIZE = "The teacher's prompt", "A model of the student's size, prompted"
_FROZEN = "A frozen model with a context"
# In the order of the tables and figures. The three colours that are compared most (blue, orange,
# green) stay apart for colour-blind readers (after Okabe and Ito).
ROLES = (
    Role(
        TEACHER,
        _TEACHER,
        "#0072B2",
        "s",
        "teacher",
        "teacher, read each time",
        accuracy_from=TEACHER_CACHED,
    ),
    Role(TEACHER_CACHED, _TEACHER, "#2F8FE0", "D", "teacher", "teacher, cached", cached=True),
    Role(STUDENT, "Students", "#00936B", "o"),
    Role(MEND, _FROZEN, "#D6568E", "*"),
    Role(PROMPT_TUNING, _FROZEN, "#7A8B2A", "h"),
    Role(CONTEXT, _FROZEN, "#0F8B8D", "<"),
    Role(PBFT, "Fine-tuned on the demonstrations", "#9B59D0", "X"),
    Role(RIVAL, "Simple classifiers on the same labels", "#D0312D", ">"),
    Role(
        SAME_SIZE,
        _SAME_SIZE,
        "#B4530A",
        "^",
        "student",
        "same size, read each time",
        accuracy_from=SAME_SIZE_CACHED,
    ),
    Role(SAME_SIZE_CACHED, _SAME_SIZE, "#D97706", "v", "student", "same size, cached", cached=True),
    Role(ZERO_SHOT, _SAME_SIZE, "#8C6D1F", "P", "student"),
    Role(PEER, "Other runtimes", "#78828F", "p"),
)
_BY_NAME = {role.name: role for role in ROLES}
# The prompts, which a bundle would replace.
BASELINES = tuple(role.name for role in ROLES if role.model is not None)


def role_of(name: str) -> Role:
    """The role of this name; one that is not known stands under its own name."""
    return _BY_NAME.get(name) or Role(name, name, _BY_NAME[PEER].colour, "o")
