"""The comparison with other runtimes: its prompts, its figures, and one run from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgecd.errors import InputError
from tests.tiny import tiny_run

pytest.importorskip("torch")

PEERS = Path(__file__).resolve().parents[1] / "benchmarks" / "peers"
sys.path.insert(0, str(PEERS))

from prompts import Prompts, exact  # noqa: E402
from summary import latency, quality, table  # noqa: E402


def test_timed_prompts_have_exactly_the_length_and_end_as_prompts_do() -> None:
    prompts = Prompts([[0, 1, 2, 9], [0, 3, 4, 5, 9], [0, 6, 7, 9]], [-1, -1, -1], start=[0])
    turn = exact(prompts, length=6, count=4, first=1)
    assert turn == [[0, 5, 9, 6, 7, 9], [0, 9, 3, 4, 5, 9]] * 2
    with pytest.raises(InputError, match="no prompt of 12 tokens"):
        exact(prompts, length=12, count=1)


def test_a_ratio_is_taken_round_by_round() -> None:
    ours, theirs = (
        [[2.0, 2.0], [200.0, 200.0], [2.0, 2.0]],
        [[1.0, 1.0], [100.0, 100.0], [4.0, 4.0]],
    )
    figures = latency(ours, theirs)
    assert figures["ratio"] == 2.0  # the disturbed round says the same, and the odd one is outvoted
    assert figures["p50"] == 2.0
    assert figures["raw"] == ours


def test_answers_that_are_no_numbers_are_flips_and_unlabelled_rows_have_no_accuracy() -> None:
    reference = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    figures = quality([[2.0, 0.0], [float("nan"), 0.0], [1.0, 0.5]], reference, [0, -1, 1])
    assert figures["label_flips"] == 2
    assert figures["accuracy"] == 0.5


def test_a_bundle_next_to_the_checkpoint_and_a_peer_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from edgecd.export.convert import export_run

    run, bundle, out = tiny_run(tmp_path / "run"), tmp_path / "small", tmp_path / "report.json"
    export_run(run, bundle)
    command = [sys.executable, str(PEERS / "compare.py"), str(run / "checkpoint"), str(bundle)]
    command += ["--examples", str(run / "heldout.jsonl"), "--limit", "12", "--lengths", "8", "32"]
    command += ["--threads", "1", "--rounds", "2", "--calls", "2", "--work", str(tmp_path / "work")]
    command += ["--systems", "pytorch-fp32", "optimum-dynamic", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    rows = {row["system"]: row for row in report["rows"]}
    assert "interpreter of its own" in rows["optimum-dynamic"]["skipped"]
    for name in ("small", "pytorch-fp32"):
        assert rows[name]["quality"]["label_flips"] == 0
        assert rows[name]["quality"]["examples"] == 12
        assert [len(one) for one in rows[name]["latency_ms"]["32"]["raw"]] == [2, 2]
        assert rows[name]["peak_rss_bytes"] > rows[name]["disk_bytes"] > 0
    assert rows["small"]["latency_ms"]["8"]["ratio"] == 1.0
    assert table(report["rows"], [8, 32]) in done.stdout
