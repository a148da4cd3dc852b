"""report.md and the terminal's table: an answer first, then the tables, then what to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgecd.bench.report import mistakes, tables
from edgecd.bench.report.compare import Change, Comparison
from edgecd.bench.report.record import Report
from edgecd.bench.report.selection import ordered
from edgecd.bench.report.words import notes

if TYPE_CHECKING:
    import rich.table


def markdown(report: Report) -> str:
    """report.md: made from report.json alone."""
    main = tables.main_table(report)
    parts = [f"# Benchmark: {report.task}", report.verdict, _markdown_table(main), main.about]
    others = [tables.against_table(report), tables.rival_table(report)]
    others += [mistakes.label_table(report), mistakes.mistake_table(report)]
    others.append(tables.accuracy_table(report))
    others += [tables.domain_table(report)] if report.ood else []
    others += [
        *tables.group_tables(report),
        tables.speed_table(report),
        tables.length_table(report),
    ]
    for one in others:
        if one.rows:
            parts += [f"## {one.title}", _markdown_table(one), one.about]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(report))]
    return "\n\n".join(parts) + "\n"


def table(report: Report) -> rich.table.Table:
    """The main columns for a terminal of 80 characters; the rest is in the report."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(f"Benchmark: {report.task}"), title_justify="left")
    for name, _ in tables.TERMINAL:
        justify = "left" if name == "system" else "right"
        shown.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in ordered(report):
        # Text: a folder's name such as [red] is not markup
        shown.add_row(*(Text(cell(row)) for _, cell in tables.TERMINAL))
    return shown


def comparison_table(comparison: Comparison) -> rich.table.Table:
    """Two reports for a terminal: a system's numbers in A and in B, and below them the change."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=Text(f"{comparison.task}: A -> B, * marks changes beyond chance"),
        title_justify="left",
    )
    shown.add_column("system", overflow="fold")
    for name in ("accuracy", "p50 ms", "memory MB", "disk MB"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        cells = (
            _change(row.accuracy, 3, 1, "+.3f", bool(row.accuracy and row.accuracy.significant)),
            _change(row.p50_ms, 1, 1, "+.0%", bool(row.p50_ms.significant)),
            _change(row.peak_rss_bytes, 0, 1e6, "+.0%"),
            _change(row.disk_bytes, 0, 1e6, "+.0%"),
        )
        shown.add_row(Text(row.system), *cells)
    return shown


def comparison_notes(comparison: Comparison) -> Iterator[str]:
    """What A and B are, what only one of them has, and what to know."""
    for side, path, only in (
        ("A", comparison.a, comparison.only_a),
        ("B", comparison.b, comparison.only_b),
    ):
        more = f"; only there: {', '.join(only)}" if only else ""
        yield f"{side}: {path}{more}"
    yield from comparison.notes


def _change(
    change: Change | None, digits: int, unit: float, style: str, beyond_chance: bool = False
) -> str:
    if change is None:
        return "-"
    both = f"{change.a / unit:.{digits}f} -> {change.b / unit:.{digits}f}"
    if change.change is None:
        return both
    return f"{both}\n{change.change:{style}}{' *' if beyond_chance else ''}"


def _markdown_table(table: tables.Table) -> str:
    lines: list[Sequence[str]] = [table.columns]
    lines += [["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A text that stays one cell, and no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;")
