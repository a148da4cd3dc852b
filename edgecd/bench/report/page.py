"""report.html: one file that needs no network and no script, made from report.json alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from edgecd.bench.report import cells, mistakes, tables
from edgecd.bench.report.record import Report, Row
from edgecd.bench.report.verdict import (
    NO_ADVICE,
    Verdict,
    answer_text,
    gap_text,
    judge,
    rest,
)
from edgecd.bench.report.words import notes
from edgecd.plotting.roles import role_of

_STYLE = "page.css"
_WORDS = 60  # a column with a cell of more letters may have several lines


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its heading, the sentence that says what it shows, and its SVG."""

    title: str
    shows: str
    svg: str


def page(report: Report, pictures: Sequence[Picture] | None) -> str:
    """The page as HTML; `pictures` is None where matplotlib is not installed.

    `svg` of a picture must come from `edgecd.plotting.style.inline_svg`; all else is escaped.
    """
    found = judge(report)
    task = escape(report.task)
    style = files("edgecd.bench.report").joinpath(_STYLE).read_text(encoding="utf-8")
    body = [
        *_head(report, found),
        "<main>",
        *_table(tables.main_table(report), found.student),
        *_figures(pictures),
        "<h2>Details</h2>",
        *_details(report),
        "<h2>Notes</h2>",
        '<ul class="notes">',
        *(f"<li>{_text(note)}</li>" for note in notes(report)),
        "</ul>",
        "</main>",
        "<footer>Made by edgecd bench from report.json, which holds every figure.</footer>",
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>Benchmark: {task}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def _head(report: Report, verdict: Verdict) -> Iterator[str]:
    """The answer, then what it rests on."""
    answer, gap = answer_text(verdict), gap_text(verdict)
    yield "<header>"
    yield f"<h1>Benchmark: {escape(report.task)}</h1>"
    yield f'<p class="verdict">{_text(f"{answer}." if answer else NO_ADVICE)}</p>'
    behind = [f"{gap[0].upper()}{gap[1:]}."] if gap else []
    if behind := [*behind, *rest(verdict)]:
        yield f'<p class="rest">{_text(" ".join(behind))}</p>'
    if numbers := list(_key_numbers(report, verdict)):
        yield '<dl class="key">'
        for name, value in numbers:
            yield f"<div><dt>{_text(name)}</dt><dd>{escape(value)}</dd></div>"
        yield "</dl>"
    yield "</header>"


def _key_numbers(report: Report, verdict: Verdict) -> Iterator[tuple[str, str]]:
    if simple := verdict.simple:
        low, high = (100 * end for end in simple.gap.ci95)
        yield (
            f"accuracy of `{simple.row.system}` against the student [{low:+.1f}, {high:+.1f}]",
            f"{100 * simple.gap.difference:+.1f} points",
        )
    best, found = verdict.student, verdict.against
    if best is None or found is None:
        return
    how = "cached" if role_of(found.prompt.role).cached else "prompt's"
    if gap := verdict.gap:
        low, high = (100 * end for end in gap.ci95)
        yield (
            f"accuracy against `{report.reference}` [{low:+.1f}, {high:+.1f}]",
            f"{100 * gap.difference:+.1f} points",
        )
    yield f"as fast as the {how} prompt, {best.p50_ms:.0f} ms a query", f"{found.ratio:.1f}x"
    for ours, theirs, words in (
        (best.peak_rss_bytes, found.prompt.peak_rss_bytes, "memory"),
        (best.disk_bytes, found.prompt.disk_bytes, "disk"),
    ):
        if ours and theirs:
            yield f"less {words}, {cells.megabytes(ours)} MB", f"{theirs / ours:.1f}x"


def _table(table: tables.Table, best: Row | None = None) -> Iterator[str]:
    """A table in a box of its own that scrolls; groups have headings where there are several."""
    name = escape(table.title)
    yield f"<h2>{name}</h2>" if best is not None else f"<h3>{name}</h3>"
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{name}, table"><table>'
    marks = [_mark([row[place] for row in table.rows]) for place in range(len(table.columns))]
    heads = "".join(
        f'<th scope="col"{mark}>{escape(column)}</th>'
        for column, mark in zip(table.columns, marks, strict=True)
    )
    yield f"<thead><tr>{heads}</tr></thead>"
    for heading, rows in table.groups:
        yield "<tbody>"
        if len(table.groups) > 1:
            whole = f'class="group" colspan="{len(table.columns)}" scope="rowgroup"'
            yield f"<tr><th {whole}>{escape(heading)}</th></tr>"
        for system, *values in rows:
            mark = ' class="best"' if best is not None and best.system == system else ""
            cells = zip(marks[1:], values, strict=True)
            data = "".join(f"<td{mark_of}>{escape(value)}</td>" for mark_of, value in cells)
            yield f'<tr{mark}><th scope="row">{escape(system)}</th>{data}</tr>'
        yield "</tbody>"
    yield "</table></div>"
    if table.about:
        yield f'<p class="about">{_text(table.about)}</p>'


def _mark(column: Sequence[str]) -> str:
    """What sets a column of words apart from one of figures."""
    return ' class="words"' if any(len(cell) > _WORDS for cell in column) else ""


def _figures(pictures: Sequence[Picture] | None) -> Iterator[str]:
    if pictures is None:
        yield "<h2>Figures</h2>"
        yield '<p class="missing">This page was made without figures, which need matplotlib: '
        yield "<code>pip install 'edgecd[report]'</code></p>"
    elif pictures:
        yield "<h2>Figures</h2>"
    for picture in pictures or ():
        name = escape(picture.title)
        yield f"<figure><h3>{name}</h3><figcaption>{_text(picture.shows)}</figcaption>"
        yield f'<div class="scroll" role="region" tabindex="0" aria-label="{name}, figure">'
        yield f"{picture.svg}</div></figure>"


def _details(report: Report) -> Iterator[str]:
    found = [tables.rival_table(report)]
    found += [tables.domain_table(report)] if report.ood else []
    found += [mistakes.label_table(report), mistakes.mistake_table(report)]
    found += [*tables.group_tables(report), tables.accuracy_table(report)]
    found += [tables.against_table(report), tables.speed_table(report)]
    found.append(tables.length_table(report))
    for table in found:
        if table.rows:
            yield from _table(table)


def _text(text: str) -> str:
    """Escaped, with `names` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
