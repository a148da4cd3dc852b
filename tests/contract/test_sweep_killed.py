"""A sweep that is killed: it takes its process along, and goes on to the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweep_world import ROOT, SMALL, make_world, without_cost


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def test_killed_three_times_a_sweep_comes_to_the_same_table(world, tmp_path):
    suite = Path(world["task"]).with_name("small.toml")
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweep_in_forks", suite, json.dumps(world), tmp_path],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["run_again"] == [] and said["finished_before_each_kill"][0] < 8
    assert "8 of 8 cells finished" in without_cost(tmp_path / "whole")
    assert without_cost(tmp_path / "cut") == without_cost(tmp_path / "whole")


def test_a_killed_sweep_takes_its_process_along(world, tmp_path):
    one = SMALL.split("[[runs]]")
    (tmp_path / "one.toml").write_text("[[runs]]".join(one[:2]).replace("[0, 1]", "[0]"))
    options = [f"--{key}={world[key]}" for key in ("task", "teacher", "student")]
    command = [sys.executable, "-m", "edgecd", "sweep", tmp_path / "one.toml", *options]
    command += ["--out", tmp_path / "out", "--threads=1", "--quiet", "--json"]
    cell = tmp_path / "out" / "cells" / "icl-student-2-shots-seed-0"
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    until(lambda: children(started.pid))
    (child,) = children(started.pid)
    started.send_signal(signal.SIGKILL)
    started.wait()
    until(lambda: child not in running())
    assert not (cell / "result.json").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [one["status"] for one in json.loads(done.stdout)["cells"]] == ["done"]


def until(true, seconds=120.0):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it never came to pass"
        time.sleep(0.05)


def running():
    """Process id -> parent's, of every process that has not ended."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue  # it ended just now
        values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if not values["State"].startswith("Z"):
            found[int(values["Pid"])] = int(values["PPid"])
    return found


def children(pid):
    return [child for child, parent in running().items() if parent == pid]
