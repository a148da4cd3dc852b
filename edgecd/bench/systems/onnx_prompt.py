"""A prompt on onnxruntime as a system of the benchmark: no PyTorch in its process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecd.bench.worker import Fields, Loaded
from edgecd.files import read_json, write_json
from edgecd.formats.contract import INPUTS
from edgecd.formats.manifest import MODEL, TOKENIZER

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
    write_json(path, asdict(prompt))


def load(spec: Mapping[str, Any]) -> Loaded:
    """The graph that `prompt_models` made, one query at a time.

    Only the query is tokenized for each answer; a cached prompt's tokens are handed over for the
    graph to leave out, which costs nothing that can be measured.
    """
    started = time.perf_counter()
    import numpy as np
    import onnxruntime

    from edgecd.runtime.predictor import load_tokenizer
    from edgecd.runtime.session import open_session
    from edgecd.tasks.encoding import encode_prompt
    from edgecd.tasks.prompts import PromptTemplate

    imported = time.perf_counter()
    folder = Path(spec["folder"])
    values = read_json(folder / PROMPT)
    context: list[int] = values["context"]
    template = PromptTemplate(spec["template"], spec["verbalizer"])
    tokenizer = load_tokenizer(folder / TOKENIZER)
    session = open_session(folder / MODEL, spec["provider"], spec["threads"])
    ready = time.perf_counter()

    def ids(fields: Fields) -> list[int]:
        return encode_prompt(tokenizer, template, fields, spec["max_length"], bool(context)).ids

    def answer(fields: Fields) -> list[float]:
        tokens = np.array([context + ids(fields)], np.int64)
        feed = dict(zip(INPUTS, (tokens, np.ones_like(tokens)), strict=True))
        row: list[float] = session.run(None, feed)[0][0].tolist()
        return row

    def answer_all(inputs: Sequence[Fields]) -> list[list[float]]:
        return [answer(fields) for fields in inputs]

    read_anew = len(context) - values["prefix_length"]
    return Loaded(
        answer=answer,
        answer_all=answer_all,
        batch_size=1,
        tokens=lambda fields: max(0, read_anew) + len(ids(fields)),
        facts={
            "runtime": "onnxruntime",
            "runtime_version": onnxruntime.__version__,
            "provider": session.get_providers()[0],
            "precision": values["precision"],
            "labels": values["labels"],
            "parameters": values["parameters"],
            "disk_bytes": sum((folder / name).stat().st_size for name in (MODEL, TOKENIZER)),
            "context_tokens": len(context),
            "import_ms": (imported - started) * 1e3,
            "load_ms": (ready - imported) * 1e3,
            "context_ms": None,
        },
    )
