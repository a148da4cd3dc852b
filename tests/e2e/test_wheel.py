"""The wheel, installed with its device extra alone, predicts from a bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]


def call(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"edgecd"}
    assert {"edgecd/tasks/builtin/mnli.toml", "edgecd/py.typed"} <= set(names)
    assert {"edgecd/serve/page/index.html", "edgecd/serve/page/assets/index.js"} <= set(names)


def test_the_wheel_with_the_cpu_extra_alone_predicts(wheel, tmp_path):
    from edgecd.export.convert import export_run

    run = tiny.tiny_run(tmp_path / "run")
    export_run(run, tmp_path / "bundle")
    venv = tmp_path / "venv"
    call(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    call(*install, f"{wheel}[cpu]")
    rows = tiny.examples(5)
    lines = "".join(json.dumps(row["fields"]) + "\n" for row in rows)
    edgecd = venv / "bin" / "edgecd"
    out = call(edgecd, "predict", tmp_path / "bundle", "-", input=lines, cwd=tmp_path)
    from edgecd import Predictor

    expected = Predictor.load(tmp_path / "bundle").predict_batch([row["fields"] for row in rows])
    assert [json.loads(line)["label"] for line in out.splitlines()] == [p.label for p in expected]
    assert "ok" in call(edgecd, "verify", tmp_path / "bundle", cwd=tmp_path)
    listed = call(python, "-m", "pip", "list", "--format=freeze").lower()
    assert "torch" not in listed and "transformers" not in listed
    missing = subprocess.run(
        [edgecd, "train", "--out", "x"], capture_output=True, text=True, cwd=tmp_path
    )
    assert missing.returncode == 2 and "edgecd[train]" in missing.stderr
