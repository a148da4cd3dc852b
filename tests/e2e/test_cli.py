"""The commands as a user types them, on tiny models; exit codes and messages included."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import tiny


def edgecd(*arguments, stdin=None, env=None, code=0):
    """Run the command in a fresh process; returns (stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "edgecd", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        timeout=600,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        tokenizer = tiny.tiny_tokenizer()
        tiny.save_model(tiny.tiny_causal_lm(family, len(tokenizer)), tokenizer, root / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(160)]
    tiny.write_jsonl(root / "train.jsonl", rows[:100])
    tiny.write_jsonl(root / "validation.jsonl", rows[100:])
    (root / "task.toml").write_text(tiny.TASK)
    other = tiny.TASK.replace('"pairs"', '"other"').replace("validation.jsonl", "train.jsonl")
    (root / "other.toml").write_text(other)
    return root


@pytest.fixture(scope="module")
def train_options(world):
    return [
        *("--task", world / "task.toml", "--teacher", world / "teacher"),
        *("--student", world / "student", "--shots", "4", "--batch-size", "8"),
    ]


@pytest.fixture(scope="module")
def run(world, train_options):
    edgecd("train", *train_options, "--out", world / "run")
    return world / "run"


@pytest.fixture(scope="module")
def bundle(world, run):
    edgecd("export", run, "--int8", "--max-flips", "60", "--out", world / "int8")
    edgecd("export", run, "--out", world / "fp32")
    return world / "fp32"


def test_train_export_predict_inspect_verify(run, bundle):
    config = json.loads((run / "run.json").read_text())
    assert config["status"] == "done"
    fields = ["--field", "premise=A cat sits.", "--field", "hypothesis=A cat {braces}."]
    out, _ = edgecd("predict", bundle, *fields, "--json")
    answer = json.loads(out)
    assert answer["label"] in ("entailment", "contradiction")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    shown, _ = edgecd("predict", bundle, *fields)
    assert shown.strip() == answer["label"]
    assert json.loads(edgecd("inspect", bundle, "--json")[0])["labels"]
    assert "ok" in edgecd("verify", bundle)[0]


def test_predict_reads_json_lines_and_answers_in_order(bundle):
    rows = [row["fields"] | {"id": row["id"]} for row in tiny.examples(40)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    out, _ = edgecd("predict", bundle, "-", stdin=lines)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [a["id"] for a in answers] == [row["id"] for row in rows]
    out, error = edgecd("predict", bundle, "-", stdin=lines + "{oops\n", code=1)
    assert "line 41: not valid JSON" in out and "1 of 41 lines have no answer" in error


def test_bench_writes_a_report_and_goes_on_where_it_stopped(world, run, bundle):
    arguments = [
        *("bench", bundle, world / "int8", "--task", world / "task.toml", "--run", run),
        *("--ood", world / "other.toml", "--limit", "20", "--latency-queries", "4"),
        *("--threads", "1", "--rounds", "1", "--draws", "2", "--few-shots", "2"),
        *("--out", world / "report", "--json"),
    ]
    report = json.loads(edgecd(*arguments)[0])
    roles = {row["role"] for row in report["rows"]}
    assert roles == {
        *("teacher-icl", "teacher-icl-cached", "same-size-icl", "same-size-icl-cached"),
        *("same-size-zero-shot", "student", "rival"),
    }
    for row in report["rows"]:
        if row["runtime"] == "onnxruntime" and row["shots_in_input"] in (0, report["shots"]):
            assert row["ood_accuracy"]["other"]["examples"] == 20
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
    kept = world / "report" / "systems" / "fp32" / "round-1.json"
    stamp = kept.stat().st_mtime_ns
    assert json.loads(edgecd(*arguments)[0])["rows"] == report["rows"]
    assert kept.stat().st_mtime_ns == stamp
    assert "fp32" in (world / "report" / "report.md").read_text()
    assert "fp32" in (world / "report" / "report.html").read_text()
    changes, _ = edgecd("bench", "--compare", world / "report", world / "report", "--json")
    assert not any(row["accuracy"]["significant"] for row in json.loads(changes)["rows"])


def test_one_flipped_byte_is_refused(bundle, tmp_path):
    import shutil

    broken = shutil.copytree(bundle, tmp_path / "broken")
    content = bytearray((broken / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (broken / "model.onnx").write_bytes(content)
    assert "model.onnx" in edgecd("verify", broken, code=1)[1]
    fields = ["--field", "premise=a", "--field", "hypothesis=b"]
    assert "model.onnx" in edgecd("predict", broken, *fields, code=1)[1]


def test_a_gate_that_makes_no_sense_is_wrong_use(world, run):
    arguments = ["export", run, "--int8", "--max-flips", "-1", "--out", world / "never"]
    assert "--max-flips" in edgecd(*arguments, code=2)[1]
    assert not (world / "never").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--teacher", "/nowhere"], "/nowhere: no such folder"),
        (["--shots", "1000"], "lower --shots"),
        (["--method", "magic"], "choose one of cd, pbft"),
        (["--adapter", "bitfit"], "use --adapter lora"),
        (["--config", "nowhere.toml"], "nowhere.toml: no such file"),
    ],
)
def test_bad_requests_exit_2_and_say_the_cure(world, train_options, tmp_path, arguments, message):
    options = [*train_options, *arguments, "--out", tmp_path / "run"]
    assert message in " ".join(edgecd("train", *options, code=2)[1].split())


def test_an_existing_folder_is_refused_without_force(run, bundle, train_options):
    assert "--force" in edgecd("train", *train_options, "--out", run, code=2)[1]
    assert "--force" in edgecd("export", run, "--out", bundle, code=2)[1]


def test_json_is_alone_on_stdout(world, train_options, tmp_path):
    out, _ = edgecd("train", *train_options, "--out", tmp_path / "run", "--json")
    assert json.loads(out)["status"] == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_130_and_resume_ends_the_same(world, train_options, tmp_path, number):
    options = [*train_options, "--epochs", "40", "--patience", "1000"]
    command = [sys.executable, "-m", "edgecd", "train", *map(str, options), "--quiet"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "cut")],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores interrupts, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    metrics = tmp_path / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 20):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command with --resume goes on from the last saved state" in said
    assert "Traceback" not in said
    if number == signal.SIGTERM:
        return
    edgecd("train", *options, "--out", tmp_path / "cut", "--resume")
    edgecd("train", *options, "--out", tmp_path / "whole")
    figures = [
        json.loads((tmp_path / name / "run.json").read_text())["metrics"]
        for name in ("cut", "whole")
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_whoever_reads_one_line_makes_no_error(bundle, tmp_path):
    rows = "".join(json.dumps(row["fields"]) + "\n" for row in tiny.examples(400))
    (tmp_path / "in.jsonl").write_text(rows)
    names = {"bundle": bundle, "file": tmp_path / "in.jsonl", "python": sys.executable}
    for command in ("predict {bundle} {file}", "inspect {bundle}", "predict {bundle} - < {file}"):
        line = f"{{python}} -m edgecd {command}".format(**names)
        script = f"set -o pipefail; {line} | head -1"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
        assert "rror" not in done.stderr, done.stderr


def test_an_unreachable_hub_is_said_within_ten_seconds(tmp_path):
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        env = {
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HOME": str(tmp_path / "hf"),
        }
        code = (
            "import time, sys\n"
            "from edgecd.host.hub import resolve_model, resolve_dataset\n"
            "from edgecd.errors import InputError\n"
            "import huggingface_hub\n"
            "for ask in (resolve_model, resolve_dataset):\n"
            "    began = time.monotonic()\n"
            "    try:\n"
            "        ask('some/thing')\n"
            "    except InputError as error:\n"
            "        print(time.monotonic() - began, error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, **env},
            timeout=60,
        )
    model, dataset = done.stdout.splitlines()
    for line, cure in ((model, "local model folder"), (dataset, ".jsonl")):
        seconds, message = line.split(" ", 1)
        assert float(seconds) < 10
        assert "cannot be reached" in message and cure in message


def test_tasks_and_doctor_answer(tmp_path):
    listed = json.loads(edgecd("tasks", "--json")[0])["tasks"]
    assert {"mnli", "tickets"} <= {row["task"] for row in listed}
    assert json.loads(edgecd("doctor", "--json")[0])["cores"] >= 1
    edgecd("tasks")
    edgecd("doctor")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from edgecd.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'numpy', 'tokenizers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
