"""Words and progress for people, on stderr; results on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rich.console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table


class Console:
    """A context manager that owns the progress bars; `say` and `progress` are quiet on demand."""

    def __init__(self, quiet: bool, results: bool = True) -> None:
        self._quiet = quiet
        self._out = rich.console.Console(quiet=not results)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=rich.console.Console(stderr=True),
            disable=quiet,
        )

    def __enter__(self) -> Console:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """A remark, above the progress bars."""
        if not self._quiet:
            self._progress.console.print(line, markup=False, highlight=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar named `what`."""
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._bars[what], completed=done, total=total)

    def show(self, *things: Any) -> None:
        """Print results on stdout."""
        for thing in things:
            self._out.print(thing, markup=False, highlight=False)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table with the first row's keys as columns."""
        table = Table(title=title)
        for name in rows[0]:
            table.add_column(name)
        for row in rows:
            table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
        self._out.print(table)

    def listing(self, values: Mapping[str, Any]) -> None:
        """Name and value, a line each."""
        table = Table(show_header=False)
        for name, value in values.items():
            if isinstance(value, dict):
                value = "\n".join(f"{key} {item}" for key, item in value.items())
            elif isinstance(value, (list, tuple)):
                value = ", ".join(map(str, value))
            table.add_row(name, str(value))
        self._out.print(table)

    def run_summary(self, run: Mapping[str, Any], out: Path, next_step: str) -> None:
        """The numbers of a training run, and the command that goes on from it."""
        numbers = {
            name: f"{value:.3f}" if isinstance(value, float) else value
            for name, value in run.get("metrics", {}).items()
        }
        numbers["peak_rss_gb"] = f"{run['peak_rss_bytes'] / 1e9:.2f}"
        numbers |= {f"{phase}_s": f"{spent:.0f}" for phase, spent in run["timings_s"].items()}
        self.listing(numbers)
        self.show(f"run: {out}", f"next: {next_step}")
