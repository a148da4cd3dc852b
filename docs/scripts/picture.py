"""Draws the picture of README and the site's first page: `python docs/scripts/picture.py`.

From the report of the encoder benchmark on `tickets`, once for light and once for dark pages.
"""

from __future__ import annotations

from pathlib import Path

from edgecd.bench.report.record import read_report
from edgecd.plotting.labels import label_points
from edgecd.plotting.roles import role_of
from edgecd.plotting.style import FAINT, INK, PAPER, figure, log_axis, save

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "benchmarks/results/epyc-2core/encoder-tickets/report.json"
IMAGES = ROOT / "docs/images"
NAME = "accuracy-against-latency"
SHOWN = {
    "teacher-icl-onnx-int8": "0.5B prompted",
    "teacher-icl-cached-onnx-int8": "0.5B prompted, cached",
    "minilm-int8": "edgecd student, int8 (22M)",
    "rival-embeddings": "embeddings + logistic regression",
    "rival-encoder": "encoder, fine-tuned",
    "rival-tfidf": "TF-IDF + logistic regression",
}
DARK = {INK: "#e4e8ec", FAINT: "#343c46", PAPER: "#12161b"}


def main() -> None:
    """Write docs/images/accuracy-against-latency-light.svg and -dark.svg."""
    rows = [row for row in read_report(REPORT).rows if row.system in SHOWN]
    points = [(row.p50_ms, row.accuracy or 0.0) for row in rows]
    drawn, (axes,) = figure(7.2, 3.4)
    for row, (latency, accuracy) in zip(rows, points, strict=True):
        role = role_of(row.role)
        axes.plot(latency, accuracy, role.marker, color=role.colour, markersize=7)
    axes.set_ylim(0.3, 0.95)
    axes.set_xlim(0.5, 9_000)
    log_axis(axes, "x")
    axes.set_xlabel("milliseconds a message, one thread (logarithmic)")
    axes.set_ylabel("accuracy, six teams")
    label_points(axes, points, [SHOWN[row.system] for row in rows], [[] for _ in rows])
    IMAGES.mkdir(exist_ok=True)
    save(drawn, IMAGES / f"{NAME}-light")
    (IMAGES / f"{NAME}-light.png").unlink()  # the SVG is enough
    picture = (IMAGES / f"{NAME}-light.svg").read_text(encoding="utf-8")
    for light, dark in DARK.items():
        picture = picture.replace(light, dark)
    (IMAGES / f"{NAME}-dark.svg").write_text(picture, encoding="utf-8")


main()
