"""Hostile runs, tasks and files of rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from edgecd.formats.run import RUN, read_run
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task
from tests.hostile import values

_RUN = {
    "task": {
        "name": "t",
        "template": "{text}:",
        "labels": {"a": " a", "b": " b"},
        "form": "prompt",
    },
    "max_length": 64,
    "teacher": "a",
    "student": "b",
    "method": "cd",
    "seed": 0,
    "shots": 4,
    "fingerprints": {"data": "1"},
    "metrics": {"accuracy": 0.5},
}
_TASK = """name = "hostile"
template = "{text}:"
labels = { a = " a", b = " b", 1 = " one" }
[data]
train = "rows.jsonl"
"""


def make_run(random: Random, folder: Path) -> None:
    (folder / RUN).write_bytes(values.json_bytes(random, values.changed(random, _RUN)))


def read_a_run(folder: Path) -> None:
    run = read_run(folder)
    run.task.prompt.render(dict.fromkeys(run.task.prompt.fields, "x"))


def make_task(random: Random, folder: Path) -> None:
    content = _TASK
    pieces = (
        "[",
        "]",
        "=",
        '"',
        "{",
        "}",
        "\n",
        "[data]",
        "name",
        "'''",
        "1e999",
        "9" * 5_000,
        "\0",
    )
    pieces += ('"\\ud800"', "[" * 3_000, "train", "label_map", "\u202e", "nan", "-", "0x", "a.b.c")
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(content))
        end = at + random.choice((0, 0, 1, 5))
        content = content[:at] + random.choice(pieces) + content[end:]
    written = content.encode("utf-8", "surrogatepass")
    odd = random.random()
    (folder / "task.toml").write_bytes(
        values.bytes_of(random, written)
        if odd < 0.2
        else content.encode("utf-16")
        if odd < 0.25
        else written
    )
    (folder / "rows.jsonl").write_text('{"text": "x", "label": "a"}\n', encoding="utf-8")


def read_a_task(folder: Path) -> None:
    task = load_task(str(folder / "task.toml"))
    if "train" in task.splits:
        read_split(task, "train")


_ROWS = [{"text": f"text {n}", "label": "ab1"[n % 3], "id": n, "x": [n, None]} for n in range(6)]


def jsonl(random: Random) -> bytes:
    rows = [values.changed(random, one) if random.random() < 0.3 else one for one in _ROWS]
    return b"\n".join(values.json_bytes(random, one) for one in rows)


def delimited(random: Random) -> bytes:
    marks = (",", ";", "\t", '"', "\n", "\r", "\0", "sep=;\n", "\ufeff", "é", "=1+1", "x" * 4_000)
    rows = ["text,label", *(f"text {n},{'ab1'[n % 3]}" for n in range(6))]
    content = "\n".join(rows)
    for _ in range(random.randint(1, 6)):
        at = random.randint(0, len(content))
        content = content[:at] + random.choice(marks) * random.choice((1, 1, 50)) + content[at:]
    coding = random.choice(("utf-8", "utf-8", "utf-16", "cp1252", "latin-1"))
    return content.encode(coding, "replace")


def _columns(random: Random) -> dict[str, list[Any]]:
    columns = {key: [one[key] for one in _ROWS] for key in ("text", "label", "id")}
    name = random.choice(list(columns))
    odd = (
        None,
        "",
        "a" * 100_000,
        "\0",
        -1,
        2**40,
        1.5,
        float("nan"),
        True,
        b"\xff",
        [1],
        {"a": 1},
    )
    columns[name] = [random.choice(odd)] * 6 if random.random() < 0.5 else columns[name]
    if random.random() < 0.2:
        columns = {str(key)[: random.randint(0, 5)]: one for key, one in columns.items()}
    return columns


def parquet(random: Random) -> bytes:
    columns: dict[str, Any] = {}
    for name, some in _columns(random).items():
        try:
            columns[name] = pa.array(some)
        except (pa.ArrowException, TypeError, ValueError):
            columns[name] = pa.array([str(one) for one in some])
    table = pa.table(columns)
    if random.random() < 0.1:  # small on disk, large in memory
        table = pa.table({name: pa.array(["x" * 2_000] * 50_000) for name in ("text", "label")})
    out = io.BytesIO()
    pq.write_table(table, out, compression=random.choice(("none", "snappy", "gzip", "zstd")))
    return out.getvalue()


def xlsx(random: Random) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    columns = _columns(random)
    sheet.append(list(columns))
    for row in zip(*columns.values(), strict=True):
        cells = [one if isinstance(one, str | int | float) else str(one) for one in row]
        sheet.append([str(one).replace("\0", "")[:30_000] for one in cells])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def make_rows(ending: str, write: Callable[[Random], bytes], damaged: float) -> Any:
    def make(random: Random, folder: Path) -> None:
        content = write(random)
        if random.random() < damaged:
            content = values.bytes_of(random, content)
        (folder / f"rows.{ending}").write_bytes(content)
        task = _TASK.replace("rows.jsonl", f"rows.{ending}")
        (folder / "task.toml").write_text(task, encoding="utf-8")

    return make
