"""A report's files: report.json, and report.md, report.html and figures/ made from it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgecd.bench.report.figures import draw
from edgecd.bench.report.markdown import markdown
from edgecd.bench.report.page import Picture, page
from edgecd.bench.report.record import REPORT, Report, write_report
from edgecd.files import write_json, write_text
from edgecd.host.folders import whole_folder
from edgecd.plotting.style import inline_svg

REPORT_TEXT, REPORT_PAGE, FIGURES = "report.md", "report.html", "figures"


def write_reports(report: Report, out: Path) -> None:
    """Write all files of a report into `out`, each whole or not at all.

    Without matplotlib (`edgecd[report]`) there are no figures, and the page says so.
    """
    write_json(out / REPORT, write_report(report))
    write_text(out / REPORT_TEXT, markdown(report))
    write_text(out / REPORT_PAGE, page(report, _pictures(report, out / FIGURES)))


def _pictures(report: Report, folder: Path) -> Sequence[Picture] | None:
    """Draw the figures in place of those of an earlier report."""
    if importlib.util.find_spec("matplotlib") is None:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with whole_folder(folder) as fresh:
        return [
            Picture(
                drawing.title,
                drawing.shows,
                inline_svg(
                    (fresh / f"{drawing.name}.svg").read_text(encoding="utf-8"),
                    drawing.name,
                    f"{drawing.title}. {drawing.shows}",
                ),
            )
            for drawing in draw(report, fresh)
        ]
