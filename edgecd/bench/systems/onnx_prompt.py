"""A prompt on onnxruntime as a system of the benchmark: no PyTorch in its process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.bench.exchange import Spec
from edgecd.bench.systems.base import Fields, Loaded, Metadata
from edgecd.files import read_json, write_json
from edgecd.formats.contract import INPUTS
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.formats.record import from_json, to_json
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

PROMPT = "prompt.json"


@dataclass(frozen=True)
class PromptFile:
    """What belongs to a prompt's graph.

    `context` holds the token ids of the demonstrations, of which the graph has the first
    `prefix_length` as constants; `parameters` are the language model's. `treatment` is how the
    weights were rounded, and `parity` what the gate found of it and of what it refused (None: there
    were no inputs to ask).
    """

    context: tuple[int, ...]
    prefix_length: int
    labels: tuple[str, ...]
    precision: str
    parameters: int
    treatment: str
    parity: Mapping[str, Any] | None


def write_prompt_file(path: Path, prompt: PromptFile) -> None:
    """Write it as JSON."""
    write_json(path, to_json(prompt))


@dataclass(frozen=True)
class PromptAnswerer:
    """A prompt's graph, asked one query at a time; see `edgecd.tasks.answerer`.

    Only the query is tokenized for each answer; a cached prompt's tokens are handed over for the
    graph to leave out, which costs nothing that can be measured.
    """

    prompt: PromptFile
    template: PromptTemplate
    max_length: int
    tokenizer: Tokenizer
    session: InferenceSession

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.prompt.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens that are read for each input, without those that the graph has as constants.

        Raises InputError for an input that lacks a field of the template.
        """
        anew = list(self.prompt.context[self.prompt.prefix_length :])
        return [Encoded(anew + one.ids, one.shortened) for one in self._queries(inputs)]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        import numpy as np

        context = list(self.prompt.context)
        scores = np.zeros((len(inputs), len(self.labels)), np.float32)
        for row, query in zip(scores, self._queries(inputs), strict=True):
            tokens = np.array([context + query.ids], np.int64)
            feed = dict(zip(INPUTS, (tokens, np.ones_like(tokens)), strict=True))
            row[:] = self.session.run(None, feed)[0][0]
        return scores

    def _queries(self, inputs: Sequence[Fields]) -> list[Encoded]:
        after = bool(self.prompt.context)
        return [
            encode_prompt(self.tokenizer, self.template, fields, self.max_length, after)
            for fields in inputs
        ]


def load(spec: Spec) -> Loaded:
    """The graph that `prompt_models` made in the spec's folder.

    Raises InputError for a folder that does not hold one.
    """
    started = time.perf_counter()
    import onnxruntime

    from edgecd.formats.tokenizerfile import load_tokenizer
    from edgecd.runtime.session import open_session

    imported = time.perf_counter()
    folder = Path(str(spec.folder))
    prompt = from_json(PromptFile, read_json(folder / PROMPT), str(folder / PROMPT))
    template = PromptTemplate(spec.template, spec.verbalizer)
    tokenizer = load_tokenizer(folder / TOKENIZER)
    session = open_session(folder / MODEL, spec.provider, spec.threads)
    ready = time.perf_counter()
    return Loaded(
        PromptAnswerer(prompt, template, spec.max_length, tokenizer, session),
        batch_size=1,
        metadata=Metadata(
            runtime="onnxruntime",
            runtime_version=onnxruntime.__version__,
            provider=session.get_providers()[0],
            precision=prompt.precision,
            parameters=prompt.parameters,
            disk_bytes=sum((folder / name).stat().st_size for name in (MODEL, TOKENIZER)),
            context_tokens=len(prompt.context),
            import_ms=(imported - started) * 1e3,
            load_ms=(ready - imported) * 1e3,
        ),
    )
