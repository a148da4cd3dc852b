"""What reads files of anybody's: for each reader a way to make a hostile case, and to read it.

A case is made in an empty folder from a seed alone. Reading it ends well or with an EdgecdError;
anything else is a fault. What is read well is looked at once more by another library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.hostile import bundles, contexts, rows, tokenizers


@dataclass(frozen=True)
class Reader:
    """Makes a case in a folder, and reads it; see the module."""

    make: Callable[[Random, Path], None]
    read: Callable[[Path], None]


READERS: dict[str, Reader] = {
    "manifest": Reader(bundles.make_manifest, bundles.read_bundle),
    "graph": Reader(bundles.make_graph, bundles.read_bundle),
    "tokenizer": Reader(tokenizers.make_tokenizer, tokenizers.read_tokenizer),
    "context": Reader(contexts.make_context, contexts.read_hostile_context),
    "compressor": Reader(contexts.make_compressor, contexts.read_compressor),
    "run.json": Reader(rows.make_run, rows.read_a_run),
    "task TOML": Reader(rows.make_task, rows.read_a_task),
    "JSONL": Reader(rows.make_rows("jsonl", rows.jsonl, 0.3), rows.read_a_task),
    "CSV": Reader(rows.make_rows("csv", rows.delimited, 0.3), rows.read_a_task),
    "Parquet": Reader(rows.make_rows("parquet", rows.parquet, 0.7), rows.read_a_task),
    "XLSX": Reader(rows.make_rows("xlsx", rows.xlsx, 0.7), rows.read_a_task),
}
