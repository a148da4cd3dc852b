"""The report's tables as text, worked out once for Markdown, HTML and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edgecd.bench.report import cells
from edgecd.bench.report.classifiers import Simple, classifiers, gap_words
from edgecd.bench.report.record import FasterThan, OutOfDomain, Report, Row
from edgecd.bench.report.selection import answering, best_student, groups, parts_of

Column = tuple[str, Callable[[Row], str]]


@dataclass(frozen=True)
class Table:
    """Cells by row, under the headings of their groups; a row's first cell names the system."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    about: str

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """All rows, without the headings."""
        return [row for _, rows in self.groups for row in rows]


SYSTEM: Column = ("system", lambda row: row.system)
SHOTS: Column = ("shots", lambda row: str(row.shots_in_input))
TOKENS: Column = ("tokens", lambda row: cells.number(row.tokens_per_query_mean, 0))
ACCURACY: Column = (
    "accuracy [95%]",
    lambda row: cells.interval(row.accuracy, row.accuracy_ci95),
)
P50: Column = ("p50 ms", lambda row: cells.number(row.p50_ms, 1))
P95: Column = ("p95 ms", lambda row: cells.number(row.latency_ms.p95, 1))
P99: Column = ("p99 ms", lambda row: cells.number(row.latency_ms.p99, 1))
MEMORY: Column = ("memory MB", lambda row: cells.megabytes(row.peak_rss_bytes))
PARAMETERS: Column = ("parameters", lambda row: cells.parameters(row.parameters))
DISK: Column = ("disk MB", lambda row: cells.megabytes(row.disk_bytes))
TERMINAL = (SYSTEM, ("accuracy", cells.accuracy), P50, MEMORY, DISK)


def main_table(report: Report) -> Table:
    """What one needs to choose: accuracy and cost."""
    columns: list[Column] = [
        SYSTEM,
        ACCURACY,
        ("difference", partial(cells.gap_to_reference, report)),
        P50,
        ("faster", lambda row: cells.faster(report, row, "cached")),
        MEMORY,
        DISK,
        PARAMETERS,
        SHOTS,
        TOKENS,
        ("runtime", cells.runtime),
    ]
    about = [
        "Latency is of one query at a time, from text to scores; memory is the peak of a fresh "
        "process up to the last of them."
    ]
    if report.reference:
        about.append(f"`difference` is the accuracy minus that of `{report.reference}`.")
    about.append(
        "`faster`: times as fast as the teacher's prompt with its prefix cached, on the same "
        "runtime and precision where that was measured."
    )
    return _table("Results", columns, report.rows, " ".join(about))


def against_table(report: Report) -> Table:
    """How many times less time, memory and disk a row takes than the teacher's prompts."""
    columns: list[Column] = [
        SYSTEM,
        ("faster than naive", lambda row: cells.faster(report, row, "naive", named=True)),
        ("faster than cached", lambda row: cells.faster(report, row, "cached", named=True)),
        ("less memory", partial(cells.less_memory, report)),
        ("less disk", partial(cells.less_disk, report)),
    ]
    about = "In brackets the prompt that a row is compared with: the one on the same runtime and "
    about += "precision where that was measured. Memory and disk are against the cached one."
    rows = [row for row in report.rows if row.faster_than != FasterThan()]
    return _table("Against the teacher's prompt", columns, rows, about)


def accuracy_table(report: Report) -> Table:
    """How good the answers are, and how sure that is."""
    columns: list[Column] = [
        SYSTEM,
        ACCURACY,
        ("difference [95%]", partial(cells.difference, report)),
        ("McNemar p", partial(cells.mcnemar, report)),
        ("over draws", cells.draws),
        ("as teacher", lambda row: cells.number(row.agreement_with_teacher, 3)),
        ("macro-F1", lambda row: cells.number(row.macro_f1, 3)),
        ("ECE", lambda row: cells.number(row.ece, 3)),
        ("uncalibrated", cells.uncalibrated),
    ]
    about = {
        "difference [95%]": f"Differences are from `{report.reference}`, on the same examples.",
        "McNemar p": "After McNemar's p: examples that only this system got right, and only the "
        "reference.",
        "over draws": "`over draws`: mean ± standard deviation of the accuracy over demonstration "
        "draws, and how many.",
        "as teacher": "`as teacher`: share of labels equal to the teacher's.",
        "ECE": "ECE: expected calibration error.",
        "uncalibrated": "`uncalibrated`: accuracy without calibration.",
    }
    table = _table("Accuracy", columns, answering(report), "", optional=True)
    return Table(
        table.title,
        table.columns,
        table.groups,
        " ".join(text for name, text in about.items() if name in table.columns),
    )


def domain_table(report: Report) -> Table:
    """Accuracy out of domain, next to the task's own."""
    columns: list[Column] = [SYSTEM, (report.task, ACCURACY[1])]
    columns += [(name, partial(cells.out_of_domain, name=name)) for name in report.ood]
    about = "In brackets 95% intervals."
    if any(one and one.minus_teacher for row in report.rows for one in _ood(row)):
        about += f" After them the difference from `{report.reference}`, on the same examples."
    return _table("Out of domain", columns, answering(report), about)


def group_tables(report: Report) -> list[Table]:
    """A table for each data set whose examples come in groups (HANS: its heuristics)."""
    tables = []
    for name in (None, *report.ood):
        rows = [row for row in answering(report) if parts_of(row, name)]
        found = dict.fromkeys(group for row in rows for group in parts_of(row, name))
        columns: list[Column] = [SYSTEM]
        columns += [(group, partial(cells.part, name=name, group=group)) for group in found]
        if rows:
            about = "Accuracy, and in brackets the number of examples."
            tables.append(_table(f"{name or report.task} by group", columns, rows, about))
    return tables


def speed_table(report: Report) -> Table:
    """Latency, start and throughput in detail."""
    columns: list[Column] = [
        SYSTEM,
        P50,
        P95,
        P99,
        ("spread", lambda row: cells.number(row.p50_spread, 2)),
        ("load ms", cells.load_ms),
        ("first ms", lambda row: cells.number(row.first_call_ms, 1)),
        ("queries/s", cells.throughput),
        ("J/query", lambda row: cells.number(row.energy_j_per_query, 2)),
        ("threads", lambda row: str(row.threads or cells.NONE)),
    ]
    about = "`spread`: the slowest round's p50 over the fastest round's. `load ms` includes "
    about += "reading a prefix that is cached. `queries/s` is at batch 1 unless the batch is given."
    return _table("Time", columns, report.rows, about, optional=True)


def rival_table(report: Report) -> Table:
    """Simple classifiers on the same labels, next to the student that is judged."""
    student = best_student(report)
    found = {} if student is None else {one.row.system: one for one in classifiers(report, student)}
    columns: list[Column] = [
        SYSTEM,
        ("accuracy", lambda row: cells.number(row.accuracy, 3)),
        ("difference [95%]", lambda row: gap_words(found[row.system].gap)),
        ("McNemar p", lambda row: cells.p_value(found[row.system].gap.mcnemar_p)),
    ]
    columns += [(name, partial(_elsewhere, found, name)) for name in report.ood]
    columns += [P50, MEMORY, DISK, ("runtime", cells.runtime)]
    rows = [row for row in report.rows if row.system in found]
    about = "Differences are from the accuracy of "
    about += (
        f"`{student.system if student else ''}`, on the same examples; those out of domain, too."
    )
    return _table("Next to simple classifiers on the same labels", columns, rows, about)


def _elsewhere(found: Mapping[str, Simple], name: str, row: Row) -> str:
    gap = found[row.system].elsewhere.get(name)
    return cells.NONE if gap is None else gap_words(gap)


def length_table(report: Report) -> Table:
    """Latency by tokens of a query, and what a runtime changes of the checkpoint's answers."""
    lengths = dict.fromkeys(length for row in report.rows for length in row.lengths)
    columns: list[Column] = [SYSTEM]
    columns += [(f"{name} tokens, ms", partial(cells.at_length, length=name)) for name in lengths]
    columns += [
        ("labels changed", lambda row: cells.percent(row.labels_changed)),
        ("load ms", cells.load_ms),
        MEMORY,
        DISK,
    ]
    about = "p50 of single queries cut to so many tokens or a few less; in brackets how many times "
    about += "that of the first bundle. `labels changed`: not those of the checkpoint in PyTorch."
    rows = [row for row in report.rows if row.lengths or row.labels_changed is not None]
    return _table("Next to other runtimes", columns, rows, about, optional=True)


def _ood(row: Row) -> Sequence[OutOfDomain | None]:
    return list(row.ood_accuracy.values())


def _table(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    about: str,
    optional: bool = False,
) -> Table:
    """`optional`: a column in which no row has anything is left out."""
    if optional:
        columns = [one for one in columns if any(one[1](row) != cells.NONE for row in rows)]
    return Table(
        title,
        tuple(name for name, _ in columns),
        tuple(
            (heading, tuple(tuple(cell(row) for _, cell in columns) for row in members))
            for heading, members in groups(rows)
        ),
        about,
    )
