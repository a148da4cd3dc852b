"""JSON lines in, JSON lines out, in chunks, so that a file of any length fits into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from edgecd.errors import InputError
from edgecd.runtime.predictor import Predictor
from edgecd.tasks.json_rows import parse_json

CHUNK_ROWS = 64


def predict_stream(predictor: Predictor, lines: Iterable[str]) -> Iterator[str]:
    """Predict each line; yields one JSON object a line, in the same order.

    A line is an object with the template's fields, either directly or under `fields` (as in
    `heldout.jsonl`), or a plain JSON string when the template has one field; its `id` is handed
    through and other keys are ignored. Empty lines are skipped. A line that is wrong raises
    InputError with its number, after the rows before it have been answered.
    """
    chunk: list[tuple[dict[str, Any], dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            chunk.append(_row(predictor, line))
        except InputError as bad:
            yield from _answers(predictor, chunk)
            raise InputError(f"line {number}: {bad}") from None
        if len(chunk) == CHUNK_ROWS:
            yield from _answers(predictor, chunk)
            chunk = []
    yield from _answers(predictor, chunk)


def _row(predictor: Predictor, line: str) -> tuple[dict[str, Any], dict[str, str]]:
    row = parse_json(line)
    if not isinstance(row, dict):
        return {}, predictor.fields(row)
    nested = isinstance(row.get("fields"), dict)
    return {key: row[key] for key in ("id",) if key in row}, predictor.fields(
        row["fields"] if nested else row
    )


def _answers(
    predictor: Predictor, chunk: list[tuple[dict[str, Any], dict[str, str]]]
) -> Iterator[str]:
    predictions = predictor.predict_batch([fields for _, fields in chunk])
    for (head, _), prediction in zip(chunk, predictions, strict=True):
        answer = {
            **head,
            "label": prediction.label,
            "unsure": prediction.unsure,
            "probabilities": prediction.probabilities,
            "shortened": prediction.shortened,
        }
        yield json.dumps(answer, ensure_ascii=False)
