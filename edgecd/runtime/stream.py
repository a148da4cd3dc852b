"""Many inputs in, an answer for each, in chunks, so that a file of any length fits into memory.

What is wrong with an input is told in its place, and ends nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgecd.errors import InputError
from edgecd.runtime.predictor import Prediction, Predictor
from edgecd.tasks.json_rows import parse_json

CHUNK_ROWS = 64
NESTED = "fields"  # what a row may hold its fields under, as in heldout.jsonl


@dataclass(frozen=True)
class Query:
    """One input, or what is wrong with it, and the `values` that stand beside its answer."""

    values: Mapping[str, Any]
    item: Mapping[str, str] | InputError


Answer = Prediction | InputError


def answer_all(predictor: Predictor, queries: Iterable[Query]) -> Iterator[tuple[Query, Answer]]:
    """Each query with its answer, or with what is wrong with it, in the same order."""
    chunk: list[Query] = []
    for query in queries:
        chunk.append(query)
        if len(chunk) == CHUNK_ROWS:
            yield from _answers(predictor, chunk)
            chunk = []
    yield from _answers(predictor, chunk)


def predict_lines(
    predictor: Predictor, lines: Iterable[bytes], top: int | None = None
) -> Iterator[dict[str, Any]]:
    """JSON lines in, a JSON object for each out, in the same order; see `answer_json`.

    A line is as `line_queries` reads it; its `id` is handed through. Raises InputError for UTF-16.
    """
    for query, answer in answer_all(predictor, line_queries(predictor, lines)):
        head = {key: query.values[key] for key in ("id",) if key in query.values}
        yield {**head, **answer_json(answer, top)}


def line_queries(predictor: Predictor, lines: Iterable[bytes]) -> Iterator[Query]:
    """The inputs of JSON lines in UTF-8; empty lines are skipped.

    A line is an object with the template's fields, either directly or under NESTED, or a plain JSON
    string when the template has one field. What is wrong names the line's number. Raises InputError
    for UTF-16, of which no line can be read.
    """
    for number, line in enumerate(lines, start=1):
        if number == 1:
            if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError("the input is UTF-16: send JSON lines in UTF-8")
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        values: Mapping[str, Any] = {}
        try:
            row = _parsed(line)
            if isinstance(row, dict):
                values = row
                row = row[NESTED] if isinstance(row.get(NESTED), dict) else row
            yield Query(values, predictor.fields(row))
        except InputError as bad:
            yield Query(values, InputError(f"line {number}: {bad}"))


def answer_json(answer: Answer, top: int | None = None) -> dict[str, Any]:
    """An answer as JSON says it: what is wrong as `error`, and with `top` the first labels."""
    if isinstance(answer, InputError):
        return {"error": str(answer)}
    best = [{"label": name, "probability": share} for name, share in answer.best(top or 0)]
    return {
        "label": answer.label,
        "unsure": answer.unsure,
        "probabilities": answer.probabilities,
        **({"top": best} if top else {}),
        "shortened": answer.shortened,
    }


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as bad:
        raise InputError(f"not UTF-8 ({bad.reason} at byte {bad.start})") from None


def _answers(predictor: Predictor, chunk: list[Query]) -> Iterator[tuple[Query, Answer]]:
    inputs = [query.item for query in chunk if not isinstance(query.item, InputError)]
    found: list[Answer]
    try:
        found = list(predictor.predict_batch(inputs))
    except InputError:  # of one of them, or of all
        found = [_alone(predictor, one) for one in inputs]
    answers = iter(found)
    for query in chunk:
        yield query, query.item if isinstance(query.item, InputError) else next(answers)


def _alone(predictor: Predictor, item: Mapping[str, str]) -> Answer:
    try:
        return predictor.predict(item)
    except InputError as bad:
        return bad
