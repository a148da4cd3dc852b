"""What a system of the benchmark is: a row that is asked for, and one that is ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgecd.plotting.roles import role_of

if TYPE_CHECKING:  # it imports numpy, whose time belongs to a system's start
    from edgecd.tasks.answerer import Answerer

TORCH, ONNX = "torch", "onnxruntime"
Fields = Mapping[str, str]
Demonstration = tuple[Mapping[str, str], str]  # fields, and the label that is shown


@dataclass(frozen=True)
class System:
    """One row.

    `model` is a bundle folder, a language model's name, the checkpoint that a peer converts, or
    the sentence encoder that a rival starts from (empty for none); `identity` changes with its
    weights. A prompt (`icl`) has `shots` demonstrations in its input, read once where it is
    `cached`; on onnxruntime it has the `precision` that is asked for. A language model's bundle
    takes a `context` file, or the one inside.
    """

    name: str
    kind: Literal["bundle", "icl", "peer", "rival"]
    role: str
    model: str
    identity: Any
    runtime: str = ONNX
    precision: str | None = None
    shots: int = 0
    cached: bool = False
    bundle: str | None = None  # a peer's: the template and the labels are its
    context: str | None = None
    rival: str | None = None  # its name in `bench.rivals`

    @property
    def accuracy_from(self) -> str | None:
        """The system whose answers are this one's too, when it has none of its own."""
        other = role_of(self.role).accuracy_from
        return None if other is None else self.name.replace(self.role, other, 1)

    @property
    def converted(self) -> bool:
        """Whether it must be made, or trained, before it can be measured."""
        return self.kind in ("peer", "rival") or (self.kind == "icl" and self.runtime == ONNX)


@dataclass(frozen=True)
class Metadata:
    """What a loaded system says of itself.

    `precision` is that of its weights, `context_tokens` counts the positions in front of each
    query, `context_ms` is what reading them once took (None where nothing is read once).
    """

    runtime: str
    runtime_version: str
    provider: str
    precision: str
    parameters: int | None
    disk_bytes: int | None
    context_tokens: int
    import_ms: float
    load_ms: float
    context_ms: float | None = None


@dataclass(frozen=True)
class Loaded:
    """A system ready to answer.

    `batch_size` is how many inputs the answerer takes at once, where batches give the same
    answers. `after` gives the answerer with other demonstrations, for a prompt that can take them;
    it raises SkippedError for those that do not fit.
    """

    answerer: Answerer
    batch_size: int
    metadata: Metadata
    after: Callable[[Sequence[Demonstration]], Answerer] | None = None


class SkippedError(Exception):
    """The system cannot answer this question at all; the text says why."""
