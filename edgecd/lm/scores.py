"""Label scores: cached on disk as they come, keyed by example, calibrated, averaged over draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.files import fingerprint, write_json
from edgecd.lm.models import check_context_fits
from edgecd.lm.scorer import (
    DeferredScorer,
    Scorer,
    context_ids,
    read_context,
    score_queries,
)
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
    demonstrations: Sequence[Example],
    examples: Sequence[Example],
    max_length: int,
    folder: Path,
    batch_size: int,
    progress: Progress,
) -> tuple[LabelScores, int]:
    """Score every example after the demonstrations; also count the inputs that were shortened.

    Scores are appended to `folder/<fingerprint>.jsonl` as they come; what is there already is
    not computed again, so an interrupted run goes on, and a second student costs nothing. A
    line counts only for the same text, so that changed data are scored anew. A deferred scorer
    loads its model when something is missing only.
    """
    template, lm = scorer.template, scorer.lm
    shots = [(dict(shot.fields), str(shot.label)) for shot in demonstrations]
    context = template.render_context(shots)
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
        prefix = None
        if context:
            ids = context_ids(ready, context)
            check_context_fits(ready.lm, len(ids), max_length)
            prefix = read_context(ready, ids)
        queries = [encoded[position].ids for position in missing]
        done = len(examples) - len(missing)
        progress(done, len(examples))
        with path.open("a", encoding="utf-8") as out:
            for batch, rows in score_queries(ready, queries, prefix, batch_size):
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
    return LabelScores(tuple(example.id for example in examples), table, mark), shortened


def calibrate(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take each label's mean log-probability over `reference` off, and normalise again.

    Needs no labels: a label that the model prefers whatever the input loses that head start.
    Both arrays are [examples, labels] log-probabilities.
    """
    shifted = scores - reference.mean(axis=0, keepdims=True)
    return log_softmax(shifted).astype(np.float32)


def average(draws: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Log of the mean probability over several demonstration draws."""
    stacked = np.stack(draws)
    mean: NDArray[np.float32] = np.log(np.exp(stacked).mean(axis=0))
    return mean


def _read_lines(path: Path, labels: int) -> dict[str, tuple[str, list[float]]]:
    """Scores that were already written; a last line cut off by a kill is removed."""
    known: dict[str, tuple[str, list[float]]] = {}
    if not path.exists():
        return known
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    for line in whole.splitlines():
        row = json.loads(line)
        if len(row["log_probabilities"]) == labels:
            known[row["id"]] = (row["text"], row["log_probabilities"])
    return known
