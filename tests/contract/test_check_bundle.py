"""Two readers of one format, written apart: they agree on good bundles and on damaged ones."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")

from edgecd.errors import EdgecdError
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.export.language_model import export_language_model
from edgecd.runtime.verify import verify
from edgecd.tasks.task import load_task
from tests import tiny
from tests.damage import DAMAGES, damaged
from tests.tiny_encoders import TEXT_TEMPLATE, encoder_run

CHECKER = Path(__file__).parents[2] / "export" / "check_bundle.py"
COUNT = 264


def load_checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_bundle", CHECKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load_checker()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    tiny.write_jsonl(
        folder / "train.jsonl",
        [{**row["fields"], "label": row["label"]} for row in tiny.examples(20)],
    )
    (folder / "validation.jsonl").write_bytes((folder / "train.jsonl").read_bytes())
    (folder / "task.toml").write_text(tiny.TASK, encoding="utf-8")
    opt = tiny.tiny_run(folder / "opt", "opt", max_length=48, tokenizer=tiny.tiny_tokenizer(True))
    made = {
        "decoder-int8": (tiny.tiny_run(folder / "llama", "llama", max_length=48), "int8"),
        "decoder-fp32": (opt, "fp32"),
        "pair-int8": (encoder_run(folder / "bert", "bert"), "int8"),
        "text-fp32": (encoder_run(folder / "roberta", "roberta", TEXT_TEMPLATE), "fp32"),
    }
    for name, (run, precision) in made.items():
        export_run(run, folder / name, ExportConfig(precision=precision, max_flips=100.0))
    tokenizer = tiny.tiny_tokenizer()
    model = tiny.save_model(tiny.tiny_causal_lm("llama", len(tokenizer)), tokenizer, folder / "lm")
    task = load_task(str(folder / "task.toml"))
    export_language_model(str(model), task, folder / "language-model", max_length=64)
    return {name: folder / name for name in (*made, "language-model")}


def fault(bundle: Path) -> str | None:
    """What the independent checker says of a bundle; None of a good one."""
    try:
        checker.check(bundle)
    except (checker.Fault, OSError) as said:
        return str(said)
    return None


def error(bundle: Path) -> str | None:
    """What `edgecd verify` says of a bundle; None of a good one."""
    try:
        verify(bundle)
    except EdgecdError as said:
        return str(said)
    return None


def test_both_find_good_bundles_good(bundles: dict[str, Path]) -> None:
    for bundle in bundles.values():
        assert (fault(bundle), error(bundle)) == (None, None)


def test_both_agree_on_damaged_bundles(bundles: dict[str, Path], tmp_path: Path) -> None:
    disagreed, seen = [], Counter[tuple[str, bool]]()
    for number in range(COUNT):
        names = list(bundles)
        source = bundles[names[number % len(names)]]
        copy = tmp_path / "copy"
        kind, what = damaged(source, copy, number)
        one, other = fault(copy), error(copy)
        seen[kind, one is not None] += 1
        if (one is None) != (other is None):
            disagreed.append(f"{number} {source.name}: {what}\n  checker: {one}\n  verify: {other}")
    assert not disagreed, "\n".join(disagreed)
    assert {kind for kind, _ in seen} == set(DAMAGES)
    assert sum(count for (_, faulty), count in seen.items() if faulty) >= 200, seen


def test_it_needs_none_of_edgecd_and_says_one_line_a_bundle(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code = (
        "import runpy, sys\nsys.modules['edgecd'] = None\n"
        f"sys.argv = {['check_bundle.py', str(bundles['pair-int8']), str(tmp_path / 'empty')]!r}\n"
        f"runpy.run_path({str(CHECKER)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    good, bad = done.stdout.splitlines()
    assert good.endswith("pair-int8: ok") and bad.endswith("empty: manifest.json: no plain file")
