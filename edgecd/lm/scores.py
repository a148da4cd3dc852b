"""Label scores: cached on disk as they come, keyed by example, averaged over draws."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.files import fingerprint, write_bytes, write_json
from edgecd.host.lock import in_turn
from edgecd.lm.prompted import prompted
from edgecd.lm.scorer import DeferredScorer, Scorer
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.metrics import log_softmax
from edgecd.tasks.task import Example

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LabelScores:
    """Log-probabilities [examples, labels] of a teacher, keyed by example id.

    `fingerprint` changes with the teacher, the template or the demonstrations.
    """

    ids: tuple[str, ...]
    log_probabilities: NDArray[np.float32]
    fingerprint: str


def score_examples(
    scorer: Scorer | DeferredScorer,
    demonstrations: Demonstrations,
    examples: Sequence[Example],
    max_length: int,
    folder: Path,
    batch_size: int,
    progress: Progress,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[LabelScores, int]:
    """Score every example after the demonstrations; also count the inputs that were shortened.

    Scores are appended to `folder/<fingerprint>.jsonl` as they come; what is there already is
    not computed again, so an interrupted run goes on, and a second student costs nothing. A
    line counts only for the same text, so that changed data are scored anew. Another process that
    scores the same is waited for, which is said. A deferred scorer loads its model when something
    is missing only.
    """
    template, lm = scorer.template, scorer.lm
    context = demonstrations.render(template)
    description = {
        "model": lm.name,
        "identity": lm.identity,
        "dtype": str(lm.dtype),
        "template": template.text,
        "verbalizer": dict(template.verbalizer),
        "context": context,
        "max_length": max_length,
    }
    mark = fingerprint({key: value for key, value in description.items() if key != "model"})[:16]
    write_json(folder / f"{mark}.json", description)
    path = folder / f"{mark}.jsonl"
    with in_turn(path.with_suffix(".lock"), say):
        return _score(scorer, demonstrations, examples, max_length, path, batch_size, progress)


def _score(
    scorer: Scorer | DeferredScorer,
    demonstrations: Demonstrations,
    examples: Sequence[Example],
    max_length: int,
    path: Path,
    batch_size: int,
    progress: Progress,
) -> tuple[LabelScores, int]:
    """`score_examples` into the file `path`, which no other process writes meanwhile."""
    template, lm = scorer.template, scorer.lm
    context = demonstrations.render(template)
    known = _read_lines(path, len(template.labels))
    texts = {example.id: fingerprint(template.render(example.fields))[:12] for example in examples}
    encoded = [
        encode_prompt(lm.text_tokenizer, template, example.fields, max_length, bool(context))
        for example in examples
    ]
    missing = [
        position
        for position, example in enumerate(examples)
        if known.get(example.id, ("", None))[0] != texts[example.id]
    ]
    if missing:
        ready = scorer.ready() if isinstance(scorer, DeferredScorer) else scorer
        answerer = prompted(ready, demonstrations, max_length, rows=batch_size)
        queries = [encoded[position].ids for position in missing]
        done = len(examples) - len(missing)
        progress(done, len(examples))
        with path.open("a", encoding="utf-8") as out:
            for batch, logits in answerer.run(queries):
                rows = log_softmax(logits).astype(np.float32)
                for place, row in zip(batch, rows, strict=True):
                    name = examples[missing[place]].id
                    values = [float(value) for value in row]
                    known[name] = (texts[name], values)
                    line = {"id": name, "text": texts[name], "log_probabilities": values}
                    out.write(json.dumps(line) + "\n")
                out.flush()
                done += len(batch)
                progress(done, len(examples))
    table = np.array([known[example.id][1] for example in examples], dtype=np.float32)
    shortened = sum(prompt.shortened for prompt in encoded)
    return LabelScores(tuple(example.id for example in examples), table, path.stem), shortened


def _read_lines(path: Path, labels: int) -> dict[str, tuple[str, list[float]]]:
    """Scores that were already written; lines that were cut off or damaged are removed."""
    known: dict[str, tuple[str, list[float]]] = {}
    content = path.read_bytes() if path.exists() else b""
    good = []
    for line in content.splitlines(keepends=True):
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            values = [float(value) for value in row["log_probabilities"]]
            if len(values) == labels and all(map(math.isfinite, values)) and line.endswith(b"\n"):
                known[str(row["id"])] = (str(row["text"]), values)
                good.append(line)
    if len(b"".join(good)) < len(content):
        write_bytes(path, b"".join(good))
    return known
