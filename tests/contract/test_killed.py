"""Commands that are killed come to what they come to when they are left alone (a short form).

The long form, with every command, is `python -m benchmarks.robustness.kills`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.sweep_world import ROOT

PROGRAM = """
import json, pathlib, sys, tempfile
from tests.killed import commands, prepare, try_command
prepare()
root = pathlib.Path(sys.argv[1])
for one in commands(root):
    if one.name in sys.argv[2:]:
        told = try_command(one, 2, root / "trials" / one.name.replace(" ", "-"))
        print(json.dumps([one.name, told.kills, told.differ]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
def test_killed_commands_come_to_the_same(tmp_path):
    names = ["train cd lora", "train --force", "export --force", "mend", "compress --force"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *names],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = {
        name: (kills, differ)
        for name, kills, differ in map(json.loads, done.stdout.split("\n")[:-1])
    }
    assert sorted(told) == sorted(names)
    assert sum(kills for kills, _ in told.values()) >= 5
    assert [differ for _, differ in told.values()] == [[]] * len(names)
