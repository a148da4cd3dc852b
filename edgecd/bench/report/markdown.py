"""report.md and the terminal's table: an answer first, then the tables, then what to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgecd.bench.report import tables
from edgecd.bench.report.facts import Report, complete, ordered
from edgecd.bench.report.verdict import verdict
from edgecd.bench.report.words import notes

if TYPE_CHECKING:
    import rich.table

__all__ = ["comparison_notes", "comparison_table", "markdown", "table", "verdict"]


def markdown(report: Report) -> str:
    """report.md: made from report.json alone."""
    report = complete(report)
    main = tables.main_table(report)
    parts = [f"# Benchmark: {report['task']}", report["verdict"], _markdown_table(main), main.about]
    others = [tables.against_table(report), tables.accuracy_table(report)]
    others += [tables.domain_table(report)] if report["ood"] else []
    others += [*tables.group_tables(report), tables.speed_table(report)]
    for one in others:
        if one.rows:
            parts += [f"## {one.title}", _markdown_table(one), one.about]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(report))]
    return "\n\n".join(parts) + "\n"


def table(report: Report) -> rich.table.Table:
    """The main columns for a terminal of 80 characters; the rest is in the report."""
    from rich.table import Table
    from rich.text import Text

    report = complete(report)
    shown = Table(title=Text(f"Benchmark: {report['task']}"), title_justify="left")
    for name, _ in tables.TERMINAL:
        justify = "left" if name == "system" else "right"
        shown.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in ordered(report):
        # Text: a folder's name such as [red] is not markup
        shown.add_row(*(Text(cell(row)) for _, cell in tables.TERMINAL))
    return shown


def comparison_table(comparison: Mapping[str, Any]) -> rich.table.Table:
    """Two reports for a terminal: a system's figures in A and in B, and below them the change."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=Text(f"{comparison['task']}: A -> B, * marks changes beyond chance"),
        title_justify="left",
    )
    shown.add_column("system", overflow="fold")
    for name in ("accuracy", "p50 ms", "memory MB", "disk MB"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in comparison["rows"]:
        cells = (
            _change(row["accuracy"], 3, 1, "+.3f"),
            _change(row["p50_ms"], 1, 1, "+.0%"),
            _change(row["peak_rss_bytes"], 0, 1e6, "+.0%"),
            _change(row["disk_bytes"], 0, 1e6, "+.0%"),
        )
        shown.add_row(Text(row["system"]), *cells)
    return shown


def comparison_notes(comparison: Mapping[str, Any]) -> Iterator[str]:
    """What A and B are, what only one of them has, and what to know."""
    for side in ("a", "b"):
        only = comparison[f"only_{side}"]
        more = f"; only there: {', '.join(only)}" if only else ""
        yield f"{side.upper()}: {comparison[side]}{more}"
    yield from comparison["notes"]


def _change(values: Mapping[str, Any] | None, digits: int, unit: float, style: str) -> str:
    if values is None:
        return "-"
    both = f"{values['a'] / unit:.{digits}f} -> {values['b'] / unit:.{digits}f}"
    if values["change"] is None:
        return both
    return f"{both}\n{values['change']:{style}}{' *' if values.get('significant') else ''}"


def _markdown_table(table: tables.Table) -> str:
    lines: list[Sequence[str]] = [table.columns]
    lines += [["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
