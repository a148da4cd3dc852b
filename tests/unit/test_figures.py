"""The figures: all that the data allow, the same bytes for the same report, names as they are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
proportion = pytest.importorskip("scipy.stats").binomtest

from edgecd.bench.report.cost import break_even  # noqa: E402
from edgecd.bench.report.figures import draw, wilson_interval  # noqa: E402
from edgecd.bench.report.selection import row_of  # noqa: E402
from edgecd.plotting.labels import label_points  # noqa: E402
from edgecd.plotting.style import COLORS, INK, figure, save, short  # noqa: E402
from tests.reports import STUDENT, read, small_report, synthetic_report  # noqa: E402

NAMES = {
    "accuracy-against-latency",
    "footprint",
    "latency",
    "out-of-domain",
    "groups-1-1",
    "groups-1-2",
    "cost-against-shots",
    "break-even",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("figures")
    draw(read(synthetic_report()), place)
    return place


def test_every_figure_is_written_twice(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")
    }
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_same_report_gives_the_same_bytes_with_names_as_they_are(tmp_path: Path) -> None:
    report = small_report()
    for row in report["rows"]:
        row["system"] = row["system"].replace(STUDENT, "$x$ & <b>")
    for name in ("one", "other"):
        draw(read(report), tmp_path / name)
    files = list((tmp_path / "one").iterdir())
    assert len(files) == 2 * (len(NAMES) - 1)  # one number of shots makes no line over shots
    for path in files:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
        if path.suffix == ".svg":
            assert "$x$ &amp; &lt;b&gt;" in path.read_text()
            assert "<dc:date>" not in path.read_text()


def test_break_even_is_where_both_have_cost_the_same() -> None:
    report = read(synthetic_report())
    student = row_of(report, STUDENT)
    assert student is not None
    (drawing,) = break_even(report)
    found = [
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) queries", drawing.shows)
    ]
    assert student.training is not None
    rivals = (student.faster_than.naive, student.faster_than.cached)
    for queries, rival in zip(found, rivals, strict=True):
        assert rival is not None
        prompt = row_of(report, rival.system)
        assert prompt is not None
        prompt_s = queries * prompt.latency_ms.p50 / 1e3
        student_s = student.training.seconds + queries * student.latency_ms.p50 / 1e3
        assert prompt_s == pytest.approx(student_s, rel=2e-3)


def test_labels_cover_neither_each_other_nor_a_point() -> None:
    chance = np.random.default_rng(1)
    drawn, (axes,) = figure(9, 6)
    points = [(float(x), float(y)) for x, y in chance.random((22, 2))]
    axes.plot(*zip(*points, strict=True), "o")
    label_points(axes, points, [f"system-number-{number}" for number in range(22)])
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 22
    for place, box in enumerate(boxes):
        assert not any(box.shrunk(0.98, 0.9).overlaps(other) for other in boxes[place + 1 :])
        assert not any(box.contains(*axes.transData.transform(point)) for point in points)


def test_saved_text_is_ink_and_stays_text(tmp_path: Path) -> None:
    drawn, (axes,) = figure()
    axes.set_title("a heading")
    save(drawn, tmp_path / "one")
    svg = (tmp_path / "one.svg").read_text()
    assert re.search(f"fill: {INK}[^>]*>a heading<", svg)


def test_colours_are_legible_on_white_and_on_near_black() -> None:
    def luminance(color: str) -> float:
        shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    assert len(set(COLORS.values())) == len(COLORS) == 12
    for color in COLORS.values():
        assert 1.05 / (luminance(color) + 0.05) >= 3  # WCAG 2, graphical objects
        assert (luminance(color) + 0.05) / (luminance("#12161b") + 0.05) >= 3


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (121, 166), (40, 40)])
def test_wilson_interval_against_scipy(right: int, count: int) -> None:
    expected = proportion(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx(tuple(expected), abs=1e-6)


def test_numbers_on_axes_are_short() -> None:
    assert [short(value) for value in (0.05, 20, 5000, 2e6)] == ["0.05", "20", "5k", "2M"]
