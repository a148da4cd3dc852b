"""Makes RESULTS.md from the reports and sweeps in results/: `python benchmarks/results_page.py`.

Every number comes from a `report.json`, a `sweep.json` or a `meta-test.json`; what the first paper
claims stands beside what was measured, whether it holds or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.bench.report import cells
from edgecd.bench.report.record import Report, Row, read_report
from edgecd.contexts.meta_record import MetaTestResult, read_meta_test
from edgecd.contexts.meta_table import meta_test_table
from edgecd.files import read_json, write_text
from edgecd.plotting.roles import TEACHER_CACHED

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE / "RESULTS.md"
HEAD = """# Results

Made by `python benchmarks/results_page.py` from the files in `results/`; do not edit. The commands
that measured them are in [README.md](README.md). Times and memory belong to the machine that a
report names: compare rows of one report, not reports.
"""
# Decoder layers without embeddings, 12 h^2 each (arXiv 2205.01068): h = 2048 x 24 and 768 x 12.
OPT_LAYERS = {"OPT-1.3B": 24 * 12 * 2048**2, "OPT-125M": 12 * 12 * 768**2}
OPT_PARAMETERS = {"OPT-1.3B": 1_315_758_080, "OPT-125M": 125_239_296}


def main() -> None:
    """Write RESULTS.md."""
    write_text(PAGE, results_page(RESULTS))


def results_page(folder: Path) -> str:
    """The page for every sweep and every report under `folder`, in order of their paths."""
    parts = [HEAD]
    for path in sorted(folder.rglob("sweep.json")):
        parts += sweep_section(read_json(path), path.parent.relative_to(folder.parent))
    for path in sorted(folder.rglob("meta-test.json")):
        parts += meta_test_section(read_meta_test(path), path.parent.relative_to(folder.parent))
    for path in sorted(folder.rglob("report.json")):
        parts += report_section(read_report(path), path.parent.relative_to(folder.parent))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def sweep_section(sweep: Mapping[str, Any], where: Path) -> Iterator[str]:
    """What a sweep found, next to the paper's claims (arXiv 2412.13243)."""
    suite, found = sweep["suite"], sweep["aggregates"]
    names = [Path(suite[key]).name for key in ("teacher", "student")]
    finished = sum(cell["status"] in ("done", "skipped") for cell in sweep["cells"])
    yield f"## Sweep {suite['name']}: {names[0]} -> {names[1]}"
    yield (
        f"{finished} of {len(sweep['cells'])} cells; tables in [{where}/table.md]({where}/table.md)"
        f", raw values in `{where}/sweep.json`. Machine: {sweep['machine']['cpu']}, "
        f"{sweep['machine']['cores']} cores."
    )
    sets = list(dict.fromkeys(name for row in found["accuracy"] for name in row["sets"]))
    for figure in sorted((HERE / where / "figures").glob("*.png")):
        yield f"![{figure.stem}]({where}/figures/{figure.name})"
    if len(sets) > 1:
        yield "### The distilled student against its rivals, out of domain"
        yield (
            "Relative change of accuracy, (student - rival) / rival, and the paired difference in "
            "points with its 95% interval over examples. The paper: almost 50% better than "
            "in-context learning with a model of the same size, 20% better than pattern-based "
            "fine-tuning."
        )
        yield table(
            ["student", "against", "shots", *(f"{name}: change, points" for name in sets)],
            list(_differences(found, sets)),
        )
    if any(row["kind"] == "pbft" for row in found["cost"]):
        yield "### Memory and time of training, at equal numbers of demonstrations"
        yield (
            "Peak memory above the loaded model, over that of full fine-tuning with all logits of "
            "the vocabulary, as pattern-based fine-tuning is commonly done, and the whole "
            "process's peak. The paper: up to 60% less. Distillation trains on more inputs "
            "(unlabelled ones), for fewer passes; the teacher's scores are extra."
        )
        yield table(
            ["system", "shots", "above loaded, MB", "of the reference", "peak, MB", "training s"],
            list(_costs(found["cost"])),
        )


def meta_test_section(result: MetaTestResult, where: Path) -> Iterator[str]:
    """Contexts on tasks that nothing was trained on: the test's own tables and figures."""
    title, _, tables = meta_test_table(result).partition("\n")
    yield f"## Contexts, {title.removeprefix('# ')}"
    yield tables
    for figure in sorted((HERE / where).glob("*.png")):
        yield f"![{figure.stem}]({where}/{figure.name})"


def report_section(report: Report, where: Path) -> Iterator[str]:
    """The verdict of a report, the ratios, and sizes against the teacher's."""
    yield f"## Benchmark {where.name}: {report.task}"
    yield f"[{where}/report.md]({where}/report.md). {report.verdict}"
    students = [row for row in report.rows if row.kind == "bundle"]
    if not students:
        return
    yield table(
        ["bundle", "accuracy", "faster than cached", "than naive", "disk MB", "memory MB"],
        [
            [
                row.system,
                cells.number(row.accuracy, 3),
                cells.faster(report, row, "cached", named=True),
                cells.faster(report, row, "naive", named=True),
                cells.megabytes(row.disk_bytes),
                cells.megabytes(row.peak_rss_bytes),
            ]
            for row in students
        ],
    )
    teachers = [row for row in report.rows if row.role == TEACHER_CACHED and row.parameters]
    smallest = min(students, key=lambda row: row.disk_bytes or math.inf)
    fewer = teachers and (teachers[0].parameters or 0) > (smallest.parameters or math.inf)
    if fewer and smallest.disk_bytes:
        yield sizes(teachers[0], smallest)


def sizes(teacher: Row, student: Row) -> str:
    """How much smaller the student is, and what the same ratios are for the OPT pair."""
    half = 2 * (teacher.parameters or 0)
    cached, naive = teacher.tokens_per_query_mean or 0, teacher.context_tokens or 0
    tokens, disk_bytes = student.tokens_per_query_mean or 1, student.disk_bytes or 1
    big, small = OPT_LAYERS.values()
    parameters = OPT_PARAMETERS["OPT-1.3B"] / OPT_PARAMETERS["OPT-125M"]
    return (
        f"`{student.system}` takes {disk_bytes / 1e6:.0f} MB on disk, "
        f"{half / disk_bytes:.1f} times less than the teacher's "
        f"{half / 2e6:.0f} M parameters in fp16 ({half / 1e6:.0f} MB); it has "
        f"{half / 2 / (student.parameters or 1):.1f} times fewer parameters. For OPT-1.3B "
        f"and OPT-125M: {parameters:.1f} times fewer parameters, {2 * parameters:.0f} times fewer "
        "bytes at 8 bits against fp16; multiplications in the decoder layers for a query of these "
        f"lengths: {big * cached / (small * tokens):.0f} times fewer than with a cached prompt, "
        f"{big * (cached + naive) / (small * tokens):.0f} times fewer than with one read each time."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, or a line that says that there is nothing yet."""
    if not rows:
        return "Nothing yet."
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _differences(found: Mapping[str, Any], sets: Sequence[str]) -> Iterator[list[str]]:
    means = {
        (row["system"], row["shots"]): {name: one["mean"] for name, one in row["sets"].items()}
        for row in found["accuracy"]
    }
    for row in found["differences"]:
        cells = []
        for name in sets:
            gap = row["sets"].get(name)
            rival = means[row["against"], row["shots"]].get(name)
            if gap is None or not rival:
                cells.append("-")
                continue
            low, high = (100 * end for end in gap["ci95"])
            change = gap["difference"] / rival
            points = f"{100 * gap['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells.append(f"{change:+.0%}, {points}")
        yield [row["system"], row["against"], str(row["shots"]), *cells]


def _costs(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    common = {
        row["shots"]: row["above_loaded_bytes"]
        for row in rows
        if row["kind"] == "pbft" and row["adapter"] == "full" and row["head"] == "vocabulary"
    }
    for row in rows:
        above, reference = row["above_loaded_bytes"], common.get(row["shots"])
        yield [
            row["system"],
            str(row["shots"]),
            "-" if above is None else f"{above / 1e6:.0f}",
            f"{above / reference:.0%}" if above is not None and reference else "-",
            f"{row['peak_rss_bytes'] / 1e6:.0f}" if row["peak_rss_bytes"] else "-",
            f"{row['training_s']:.0f}",
        ]


if __name__ == "__main__":
    main()
