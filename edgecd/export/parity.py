"""The export's gate: a graph's answers against the PyTorch checkpoint's, on held-out examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import InputError
from edgecd.formats.precision import Precision
from edgecd.formats.run import HELDOUT
from edgecd.tasks.answerer import Fields, Progress
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.prompts import PromptTemplate, value_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgecd.export.run_folder import RunFolder

ACTIVATION_EXAMPLES = 64
REFERENCE_ROWS = 8
CHUNK_EXAMPLES = 32
_NO_NUMBER = 1e30  # the difference of a logit that is none


@dataclass(frozen=True)
class HeldOut:
    """Fields of held-out examples, each with the column of its label (-1 without one)."""

    fields: list[Fields]
    gold: NDArray[np.int64]

    def first(self, count: int) -> HeldOut:
        """The first examples of these."""
        return HeldOut(self.fields[:count], self.gold[:count])


@dataclass(frozen=True)
class Parity:
    """How far a graph is from the checkpoint; accuracies are null without labels."""

    examples: int
    label_flips: int
    max_abs_logit_diff: float
    accuracy_checkpoint: float | None
    accuracy_bundle: float | None

    @property
    def flips_pct(self) -> float:
        """Share of examples whose label differs from the checkpoint's, in percent."""
        return 100 * self.label_flips / self.examples


@dataclass(frozen=True)
class Trial:
    """A treatment that was tried: how far its graph is from the checkpoint, and how large."""

    treatment: str
    parity: Parity
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        return {
            "treatment": self.treatment,
            **asdict(self.parity),
            "flips_pct": round(self.parity.flips_pct, 3),
            "size_bytes": self.size_bytes,
        }


def read_heldout(run: Path, tokenizer: Tokenizer, template: PromptTemplate, limit: int) -> HeldOut:
    """The run's held-out examples; each can be encoded to at most `limit` tokens.

    Raises InputError, with the line, for a file that is missing, short or malformed.
    """
    path = run / HELDOUT
    if not path.exists():
        raise InputError(
            f"{path} is missing: the gate compares predictions on held-out examples; train the run "
            'again, or write lines {"id": ..., "fields": {...}, "label": ...} there'
        )
    examples: list[Fields] = []
    gold = []
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            label = row.get("label")
            encode_prompt(tokenizer, template, row["fields"], limit)  # raises for what is wrong
            examples.append(row["fields"])
            gold.append(template.labels.index(label) if label is not None else -1)
        except InputError as bad:
            raise InputError(f"{path}:{number}: {bad}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as bad:
            raise InputError(
                f"{path}:{number}: not a held-out example ({bad!r}): expected "
                '{"id": ..., "fields": {...}, "label": one of the labels or null}'
            ) from None
    if len(examples) < 2:
        raise InputError(f"{path} has {len(examples)} examples: the gate needs at least 2")
    return HeldOut(examples, np.array(gold))


def read_corpus(path: Path, run: RunFolder) -> list[Fields]:
    """The inputs of a corpus: JSONL with the template's fields, or plain text, a line each.

    Raises InputError for a file that is missing, empty, or has lines of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such corpus file")
    names = run.template.fields
    texts: list[Fields] = []
    for number, line in _lines(path):
        if path.suffix != ".jsonl":
            texts.append(dict.fromkeys(names, line))
            continue
        try:
            row = json.loads(line)
            fields = row.get("fields", row)
            texts.append({name: value_of(fields, name) for name in names})
        except InputError as bad:
            raise InputError(f"{path}:{number}: {bad}") from None
        except (ValueError, AttributeError) as bad:
            raise InputError(f"{path}:{number}: not a JSON object ({bad})") from None
    if not texts:
        raise InputError(f"{path} is empty: give texts like those that the bundle will see")
    return texts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 file, without blank lines; only a newline ends one."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as bad:
        raise InputError(f"{path} is not UTF-8 text ({bad}): save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def encode(examples: Sequence[Fields], run: RunFolder) -> list[Encoded]:
    """Token ids of the examples, as the device makes them."""
    return [
        encode_prompt(run.tokenizer, run.template, one, run.max_length, run.after_context)
        for one in examples
    ]


def split(heldout: HeldOut) -> tuple[list[Fields], HeldOut]:
    """(for activation statistics, for the gate): the gate sees nothing that was tuned on it.

    Every fourth example is measured, up to ACTIVATION_EXAMPLES.
    """
    places = range(len(heldout.fields))
    measured = set(list(places)[::4][:ACTIVATION_EXAMPLES])
    gate = [place for place in places if place not in measured]
    return (
        [heldout.fields[place] for place in sorted(measured)],
        HeldOut([heldout.fields[place] for place in gate], heldout.gold[gate]),
    )


def compare(
    logits: NDArray[np.float32], reference: NDArray[np.float32], gold: NDArray[np.int64]
) -> Parity:
    """`logits` against `reference`, both [examples, labels]; `gold` [examples] as in HeldOut."""
    answers, expected = logits.argmax(-1), reference.argmax(-1)
    # A graph that gives NaN must not pass as "equal".
    flips = (answers != expected) | ~np.isfinite(logits).all(-1)
    labelled = gold >= 0

    def accuracy(columns: NDArray[np.int64]) -> float | None:
        return float((columns == gold)[labelled].mean()) if labelled.any() else None

    difference = np.abs(logits.astype(np.float64) - reference)
    return Parity(
        examples=len(gold),
        label_flips=int(flips.sum()),
        max_abs_logit_diff=float(
            np.nan_to_num(difference, nan=_NO_NUMBER, posinf=_NO_NUMBER).max()
        ),
        accuracy_checkpoint=accuracy(expected),
        accuracy_bundle=accuracy(answers),
    )


def judge(
    ask: Callable[[Sequence[Fields]], NDArray[np.float32]],
    gate: HeldOut,
    reference: NDArray[np.float32],
    max_flips_pct: float,
    progress: Progress = lambda done, total: None,
) -> Parity:
    """A graph's answers over the gate's examples, in chunks: a hopeless graph is left early.

    `ask` gives its logits, float32 [inputs, labels], which may be no numbers: they count as flips.
    What comes back is then of the examples seen so far, of which too many have flipped already for
    the whole to pass.
    """
    parts: list[NDArray[np.float32]] = []
    done = 0
    while True:
        chunk = gate.fields[done : done + CHUNK_EXAMPLES]
        parts.append(ask(chunk))
        done += len(chunk)
        progress(done, len(gate.fields))
        parity = compare(np.concatenate(parts), reference[:done], gate.gold[:done])
        hopeless = 100 * parity.label_flips > max_flips_pct * len(gate.fields)
        if hopeless or done == len(gate.fields):
            return parity


def passes(parity: Parity, precision: Precision, max_flips_pct: float) -> bool:
    """Whether the gate lets a graph through.

    Its logits must be numbers, and within the precision's `gate_tolerance` where there is one.
    """
    allowed = _NO_NUMBER if precision.gate_tolerance is None else precision.gate_tolerance
    return parity.max_abs_logit_diff < allowed and parity.flips_pct <= max_flips_pct


def tried_table(tried: Sequence[Trial]) -> str:
    """A plain text table of the treatments that were tried, for messages to people."""
    rows = [("treatment", "flips %", "accuracy", "max logit diff", "bytes")]
    for one in tried:
        accuracy = one.parity.accuracy_bundle
        rows.append(
            (
                one.treatment,
                f"{one.parity.flips_pct:.2f}",
                "-" if accuracy is None else f"{accuracy:.3f}",
                f"{one.parity.max_abs_logit_diff:.3g}",
                f"{one.size_bytes:,}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
