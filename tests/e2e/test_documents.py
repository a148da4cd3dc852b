"""The commands of README and tutorial, as a reader types them, and the site.

Each document's blocks run in their order in one empty folder. Models with two layers stand in for
the real ones, and `QUICK` makes long commands short; nothing else is changed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests import tiny
from tests.documents import ROOT, Block, blocks
from tests.tiny_encoder_folders import encoder_folder

DOCUMENTS = ("README.md", "docs/tutorial.md")
MODELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "models/teacher",
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": "models/teacher",
    "sentence-transformers/all-MiniLM-L6-v2": "models/student",
}
QUICK = {
    "train": "--transfer 120 --heldout 40 --context-draws 2 --epochs 1",
    "export": "--max-flips 60",
    "bench": "--limit 20 --rounds 1 --latency-queries 4 --draws 1 --few-shots none "
    "--rivals majority --baselines teacher-icl-cached --prompt-runtimes torch",
}
_INSTALL = "installs from a package index; .ci/run does it"
NOT_RUN = {
    "python3 -m venv .venv": _INSTALL,
    "pip install": _INSTALL,
    "cd export/web && npm ci": "installs from a package index; the tests of export/web do it",
}
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of small models."""
    folder = tmp_path_factory.mktemp("documents")
    tokenizer = tiny.tiny_tokenizer()
    teacher = tiny.tiny_causal_lm("qwen2", len(tokenizer), max_position_embeddings=16_384)
    tiny.save_model(teacher, tokenizer, folder / "teacher")
    encoder_folder(folder / "student", max_position_embeddings=512)
    return folder


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_of_a_document_works(name: str, models: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(models)
    messages = ROOT / "docs/messages.csv"
    (tmp_path / messages.name).write_bytes(messages.read_bytes())
    environment = {
        **os.environ,
        "PATH": f"{_shim(tmp_path / '.bin')}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    ran = 0
    for block in blocks(ROOT / name):
        if block.language == "python":
            _run([sys.executable, "-c", block.text], block, tmp_path, environment)
        if block.language != "bash":
            continue
        for command in block.commands():
            if any(command.startswith(one) for one in NOT_RUN):
                continue
            for real, small in MODELS.items():
                command = command.replace(real, small)
            if command.startswith("edgecd serve "):
                _serve(command, tmp_path, environment)
            else:
                _run(["bash", "-ec", command], block, tmp_path, environment)
            ran += 1
    assert ran >= 4


def test_what_is_not_run_is_little_and_is_there() -> None:
    commands = [
        command
        for name in DOCUMENTS
        for block in blocks(ROOT / name)
        if block.language == "bash"
        for command in block.commands()
    ]
    left_out = [one for one in commands if any(one.startswith(start) for start in NOT_RUN)]
    assert len(left_out) <= len(commands) / 3
    for start in NOT_RUN:
        assert any(one.startswith(start) for one in commands), f"no document has {start!r}"


def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs MkDocs: pip install 'edgecd[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    page = (tmp_path / "site/reference/commands/train/index.html").read_text(encoding="utf-8")
    assert "--context-draws" in page
    assert "predict_batch" in (tmp_path / "site/reference/python/index.html").read_text()


def _shim(folder: Path) -> Path:
    """A folder with an `edgecd` that adds QUICK's options."""
    folder.mkdir()
    cases = "".join(f'{name}) set -- "$@" {options} ;;\n' for name, options in QUICK.items())
    script = folder / "edgecd"
    script.write_text(
        f'#!/usr/bin/env bash\ncase "$1" in\n{cases}esac\nexec {sys.executable} -m edgecd "$@"\n'
    )
    script.chmod(0o755)
    return folder


def _run(command: list[str], block: Block, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    said = f"{block.where}: {command[-1]}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0 and "Traceback" not in done.stderr, said


def _serve(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Start a server, ask it, and stop it as a reader does, with Ctrl-C."""
    words = [*command.split(), "--port", "0", "--json"]
    server = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert "<html" in answer.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
