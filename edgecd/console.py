"""Words and progress for people, on stderr; results on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import rich.console
from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from edgecd.errors import for_terminal

MOST_IN_CELL = 2_000
LINE_EVERY_S = 10.0  # of a log, while something goes on
_ESTIMATE_S = 300.0  # what is left is judged by so much of the past


@dataclass(frozen=True)
class Reporter:
    """Where long work says things while it goes on.

    `say` takes a line for people; `progress` takes (what, done, total), as often as it likes.
    """

    say: Callable[[str], None]
    progress: Callable[[str, int, int], None]


SILENT = Reporter(lambda line: None, lambda what, done, total: None)


class _Stdout(rich.console.Console):
    def on_broken_pipe(self) -> None:
        """Whoever read has read enough: the command ends there, as any other."""
        raise BrokenPipeError


class Console:
    """A context manager that owns the progress; `say` and `progress` are quiet on demand.

    In a terminal there is a bar for each part; a log gets a line every LINE_EVERY_S.
    """

    def __init__(self, quiet: bool, results: bool = True) -> None:
        self._out = _Stdout(quiet=not results)
        screen = rich.console.Console(stderr=True)
        self._shown: _Bars | _Lines | None = None
        if not quiet:
            self._shown = _Bars(screen) if screen.is_terminal else _Lines()

    def __enter__(self) -> Console:
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    @property
    def reporter(self) -> Reporter:
        """This console as what long work reports to."""
        return Reporter(self.say, self.progress)

    def say(self, line: str) -> None:
        """A remark, above the progress bars."""
        if self._shown is not None and line:
            self._shown.say(for_terminal(line))

    def progress(self, what: str, done: int, total: int) -> None:
        """So much is done of the part named `what`."""
        if self._shown is not None:
            self._shown.update(what, done, total)

    def show(self, *things: Any) -> None:
        """Print results on stdout."""
        for thing in things:
            shown = for_terminal(thing) if isinstance(thing, str) else thing
            self._out.print(shown, markup=False, highlight=False)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table with the first row's keys as columns."""
        table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD)
        for name in rows[0]:
            table.add_column(cell(name), overflow="fold")
        for row in rows:
            values = (", ".join(v) if isinstance(v, list) else str(v) for v in row.values())
            table.add_row(*map(cell, values))
        self._out.print(table)

    def listing(self, values: Mapping[str, Any]) -> None:
        """Name and value, a line each."""
        table = Table(show_header=False)
        for name, value in values.items():
            if isinstance(value, dict):
                value = "\n".join(f"{key} {item}" for key, item in value.items())
            elif isinstance(value, (list, tuple)):
                value = ", ".join(map(str, value))
            table.add_row(cell(name), cell(str(value)))
        self._out.print(table)


def cell(text: str) -> Text:
    """A text of anybody's in a table: a label such as [red] is no markup, and escapes are shown."""
    return Text(for_terminal(text, MOST_IN_CELL))


class _Bars:
    """Progress in a terminal: a bar for each part, with an estimate of what is left."""

    def __init__(self, screen: rich.console.Console) -> None:
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=screen,
            speed_estimate_period=_ESTIMATE_S,
        )

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def update(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._bars[what], completed=done, total=total)


@dataclass
class _Part:
    """A part of the work: what it had done when it was first heard of, and what it has."""

    what: str
    first: int
    done: int
    total: int
    began: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """What is done and, judged by what it took, what is left."""
        took = time.monotonic() - self.began
        line = f"{self.what}: {self.done} of {self.total}, {duration(took)}"
        if self.first < self.done < self.total:
            left = took * (self.total - self.done) / (self.done - self.first)
            line += f", about {duration(left)} left"
        return line


class _Lines:
    """Progress in a log: a plain line now and then, also while nothing is heard."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._current: _Part | None = None
        self._last = ("", time.monotonic())  # what was said last, and when
        self._written = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def start(self) -> None:
        self._ended.clear()
        threading.Thread(target=self._tick, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def say(self, line: str) -> None:
        with self._lock:
            self._last = (line, time.monotonic())
            self._write(line)

    def update(self, what: str, done: int, total: int) -> None:
        with self._lock:
            part = self._parts.get(what)
            if part is None:
                part = self._parts[what] = _Part(what, done, done, total)
            part.done, part.total = done, total
            self._current = part if done < total else None
            if done >= total and time.monotonic() - part.began > LINE_EVERY_S:
                self._write(part.line())
                self._last = ("", time.monotonic())

    def _tick(self) -> None:
        while not self._ended.wait(LINE_EVERY_S / 10):
            with self._lock:
                if time.monotonic() - self._written < LINE_EVERY_S:
                    continue
                if self._current is not None:
                    self._write(self._current.line())
                elif self._last[0]:
                    since = duration(time.monotonic() - self._last[1])
                    self._write(f"{self._last[0].splitlines()[0]} ... {since}")

    def _write(self, line: str) -> None:
        self._written = time.monotonic()
        print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time for people: 40 s, 7 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
