"""Two reports side by side: what is flagged, what is not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgecd.bench.report.compare import compare_reports, two_proportion_p, write_comparison
from edgecd.cli import app
from edgecd.errors import InputError
from tests.reports import REFERENCE, STUDENT, synthetic_report


def write(folder: Path, report: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def slower(report: dict[str, Any], factor: float, *names: str) -> dict[str, Any]:
    """All rows, or those of the given names, take so many times as long."""
    for row in report["rows"]:
        if not names or row["system"] in names:
            row["latency_ms"]["p50"] *= factor
            for one in row["rounds"]:
                one["p50_ms"] *= factor
    return report


def find(comparison: dict[str, Any], system: str = STUDENT) -> dict[str, Any]:
    (row,) = [row for row in comparison["rows"] if row["system"] == system]
    return row


def compared(tmp_path: Path, b: dict[str, Any], a: dict[str, Any] | None = None) -> dict[str, Any]:
    changes = compare_reports(
        write(tmp_path / "a", a or synthetic_report()), write(tmp_path / "b", b) / "report.json"
    )
    return write_comparison(changes)


def test_the_same_report_has_no_changes(tmp_path: Path) -> None:
    found = compared(tmp_path, synthetic_report())
    assert len(found["rows"]) == len(synthetic_report()["rows"])
    for row in found["rows"]:
        assert row["accuracy"]["change"] == row["p50_ms"]["change"] == 0
        assert not row["accuracy"]["significant"] and row["p50_ms"]["significant"] is False
    assert found["only_a"] == found["only_b"] == [] and found["latency_relative_to"] is None


@pytest.mark.parametrize(("factor", "flagged"), [(1.4, True), (0.6, True), (1.08, False)])
def test_latency_is_flagged_when_rounds_are_apart_and_far(
    tmp_path: Path, factor: float, flagged: bool
) -> None:
    found = find(compared(tmp_path, slower(synthetic_report(), factor, STUDENT)))["p50_ms"]
    assert found["change"] == pytest.approx(factor - 1)
    assert found["significant"] is flagged


def test_latency_of_noisy_rounds_is_not_flagged(tmp_path: Path) -> None:
    noisy = slower(synthetic_report(), 1.4, STUDENT)
    for row in noisy["rows"]:
        row["rounds"][0]["p50_ms"] /= 2
    assert find(compared(tmp_path, noisy))["p50_ms"]["significant"] is False


def test_one_round_cannot_tell(tmp_path: Path) -> None:
    short = slower(synthetic_report(), 3, STUDENT)
    for row in short["rows"]:
        row["rounds"] = None
    found = compared(tmp_path, short)
    assert find(found)["p50_ms"]["significant"] is None
    assert any("one round" in note for note in found["notes"])


def test_on_another_machine_latency_is_judged_by_its_ratio_to_the_reference(tmp_path: Path) -> None:
    other = slower(synthetic_report(machine={"cpu": "Another", "cores": 8, "versions": {}}), 0.25)
    found = compared(tmp_path, other)
    assert found["latency_relative_to"] == REFERENCE
    assert find(found)["p50_ms"]["change"] == pytest.approx(0)
    assert find(found)["p50_ms"]["significant"] is False
    assert any("machines differ" in note for note in found["notes"])
    slower(other, 2, STUDENT)
    assert find(compared(tmp_path, other))["p50_ms"]["significant"] is True


def test_a_busier_machine_is_another_machine(tmp_path: Path) -> None:
    busy = slower(synthetic_report(), 2)
    for row in busy["rows"]:
        for one in row["rounds"]:
            one["load_average_before"] = 5.0
    found = compared(tmp_path, busy)
    assert found["latency_relative_to"] == REFERENCE
    assert find(found)["p50_ms"]["significant"] is False
    assert any("load differs (1.4 and 5.0)" in note for note in found["notes"])


def test_without_a_common_prompt_other_machines_are_not_judged(tmp_path: Path) -> None:
    other = synthetic_report(machine={"cpu": "Another", "cores": 8, "versions": {}})
    other["rows"] = [row for row in slower(other, 9)["rows"] if row["kind"] == "bundle"]
    found = compared(tmp_path, other)
    assert find(found)["p50_ms"]["change"] is None
    assert any("not judged" in note for note in found["notes"])


@pytest.mark.parametrize(("loss", "flagged"), [(0.06, True), (0.02, False)])
def test_accuracy_is_flagged_beyond_chance(tmp_path: Path, loss: float, flagged: bool) -> None:
    worse = synthetic_report()
    for row in worse["rows"]:
        row["accuracy"] -= loss if row["system"] == STUDENT else 0
    found = compared(tmp_path, worse)
    assert find(found)["accuracy"]["significant"] is flagged
    assert find(found, REFERENCE)["accuracy"]["significant"] is False
    assert any("paired test" in note for note in found["notes"])


def test_sizes_and_systems_of_one_report_only(tmp_path: Path) -> None:
    b = synthetic_report()
    b["rows"] = b["rows"][1:]
    b["rows"][-1]["system"] = "newcomer"
    for row in b["rows"]:
        row["disk_bytes"] = row["disk_bytes"] // 2
    found = compared(tmp_path, b)
    assert (found["only_a"], found["only_b"]) == (["teacher-icl", "llama.cpp"], ["newcomer"])
    assert find(found)["disk_bytes"]["change"] == pytest.approx(-0.5)
    assert find(found)["peak_rss_bytes"]["change"] == 0


@pytest.mark.parametrize(("key", "value"), [("schema", 2), ("task", "b"), ("split", "test")])
def test_what_cannot_be_compared_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"cannot be compared: their {key} differs"):
        compared(tmp_path, synthetic_report(**{key: value}))


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    report = write(tmp_path / "a", synthetic_report())
    other = write(tmp_path / "b", {"bundle": 1})
    with pytest.raises(InputError, match=r"b/report.json: not a report"):
        compare_reports(report, other)
    with pytest.raises(InputError, match="no such file"):
        compare_reports(report, tmp_path / "nowhere")


def test_the_command_shows_and_prints_the_comparison(tmp_path: Path) -> None:
    a = write(tmp_path / "a", synthetic_report())
    b = write(tmp_path / "b", slower(synthetic_report(), 1.5, STUDENT))
    words = ["bench", "--compare", str(a), str(b)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0 and "+50% *" in shown.stdout and "+0%" in shown.stdout
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(printed.stdout) == write_comparison(compare_reports(a, b))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bench"], "no bundle in bundles/ here"),
        (["bench", "bundle", "--out", "x"], "nobody says of which task bundle is"),
        (["bench", "bundle", "--compare", "a", "b"], "leave out BUNDLES"),
        (["bench", "--compare", "a", "b", "--out", "x"], "leave out BUNDLES"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caught = CliRunner().invoke(app, words)
    assert isinstance(caught.exception, InputError) and says in str(caught.exception)


@pytest.mark.parametrize(
    ("right_a", "count_a", "right_b", "count_b"),
    [(739, 1000, 679, 1000), (30, 50, 45, 90), (10, 10, 10, 10), (0, 9, 9, 9)],
)
def test_two_proportions_against_scipy(
    right_a: int, count_a: int, right_b: int, count_b: int
) -> None:
    stats = pytest.importorskip("scipy.stats")
    p = two_proportion_p(right_a / count_a, count_a, right_b / count_b, count_b)
    counts = [[right_a, count_a - right_a], [right_b, count_b - right_b]]
    if min(map(sum, zip(*counts, strict=True))) == 0:  # no answer differs
        assert p == 1
    else:  # the chi-square of a 2 x 2 table is the square of z
        assert p == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)
