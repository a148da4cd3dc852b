"""The benchmark end to end on tiny models: its figures are right, and it goes on after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

from edgecd.bench import passes, run  # noqa: E402
from edgecd.bench.config import BenchConfig  # noqa: E402
from edgecd.bench.ledger import HOLDS, WORKER, measure  # noqa: E402
from edgecd.bench.report.record import write_report  # noqa: E402
from edgecd.bench.run import bench  # noqa: E402
from edgecd.bench.systems.prompt_models import START_TOKENS, make_prompt_models  # noqa: E402
from edgecd.bench.worker import work  # noqa: E402
from edgecd.errors import EdgecdError, InputError  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.bundle import read_manifest  # noqa: E402
from edgecd.host.folders import claim  # noqa: E402
from edgecd.plotting.roles import BASELINES  # noqa: E402
from edgecd.runtime.predictor import Predictor  # noqa: E402
from edgecd.tasks.demonstrations import (  # noqa: E402
    calibration_inputs,
    draw_demonstrations,
    read_demonstrations,
)
from edgecd.tasks.encoding import label_token_ids  # noqa: E402
from edgecd.tasks.metrics import log_softmax  # noqa: E402
from edgecd.tasks.splits import read_split  # noqa: E402
from edgecd.tasks.task import Task, load_task  # noqa: E402
from tests import tiny  # noqa: E402

SHOTS, SEED = 4, 0
ROW_KEYS = {
    "system",
    "kind",
    "role",
    "precision",
    "runtime",
    "provider",
    "threads",
    "shots_in_input",
    "tokens_per_query_mean",
    "parameters",
    "disk_bytes",
    "peak_rss_bytes",
    "load_ms",
    "first_call_ms",
    "latency_ms",
    "throughput_per_s",
    "accuracy",
    "accuracy_ci95",
    "macro_f1",
    "ece",
    "examples",
    "agreement_with_teacher",
    "ood_accuracy",
}


@dataclass(frozen=True)
class World:
    """A task, its neighbour out of domain, two language models and a bundle."""

    task: Task
    other: Task
    teacher: Path
    base: Path
    run: Path
    bundle: Path

    def options(self, bundles: Sequence[Path] = (), **changes: Any) -> dict[str, Any]:
        asked = {
            "task": self.task.source,
            "ood": (self.other.source,),
            "teacher": str(self.teacher),
            "student": str(self.base),
            "shots": SHOTS,
            "seed": SEED,
            "threads": 1,
            "dtype": "float32",
            "few_shots": (2,),
            "draws": 2,
            "rounds": 2,
            "latency_queries": 6,
            "rivals": (),
            **changes,
        }
        return {"bundles": bundles or [self.bundle], "config": BenchConfig(**asked)}


def write_task(
    folder: Path,
    name: str,
    seed: int,
    labels: dict[str, str] = tiny.LABELS,
    template: str = tiny.TEMPLATE,
) -> Task:
    for split, count in (("train", 32), ("validation", 24)):
        rows = tiny.examples(count, seed + len(split))
        flat = [{"id": row["id"], **row["fields"], "label": row["label"]} for row in rows]
        tiny.write_jsonl(folder / name / f"{split}.jsonl", flat)
    words = ", ".join(f"{label} = {json.dumps(word)}" for label, word in labels.items())
    path = folder / f"{name}.toml"
    path.write_text(
        f"name = {json.dumps(name)}\ntemplate = {json.dumps(template)}\n"
        f"labels = {{ {words} }}\n[data]\n"
        f'train = "{name}/train.jsonl"\nvalidation = "{name}/validation.jsonl"\n'
    )
    return load_task(str(path))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    tokenizer = tiny.tiny_tokenizer()
    for name, family, seed in (("teacher", "qwen2", 1), ("base", "llama", 2)):
        model = tiny.tiny_causal_lm(family, len(tokenizer), seed=seed)  # type: ignore[arg-type]
        tiny.save_model(model, tokenizer, folder / name)
    run = tiny.tiny_run(folder / "run", "llama")
    export_run(run, folder / "student-fp32")
    return World(
        write_task(folder, "tiny-nli", 1),
        write_task(folder, "elsewhere", 3),
        folder / "teacher",
        folder / "base",
        run,
        folder / "student-fp32",
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "out"


@pytest.fixture(scope="module")
def report(world: World, out: Path) -> dict[str, Any]:
    return write_report(bench(out=out, **world.options()))


def row_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = (row for row in report["rows"] if row["system"] == name)
    return dict(row)


def test_every_row_is_there_with_every_key(report: dict[str, Any], out: Path) -> None:
    fewer = [f"{role}-onnx-fp32-2-shots" for role in BASELINES[:2]]
    assert [row["system"] for row in report["rows"]] == [
        *(f"{role}-onnx-fp32" for role in BASELINES),
        *BASELINES,
        *fewer,
        "student-fp32",
    ]
    for row in report["rows"]:
        assert set(row) >= ROW_KEYS
        assert row["examples"] == 24
        # Prompts in PyTorch and with fewer shots: on the task's own set alone.
        if row["runtime"] == "onnxruntime" and row["system"] not in fewer:
            assert row["ood_accuracy"]["elsewhere"]["examples"] == 24
        else:
            assert row["ood_accuracy"]["elsewhere"] is None
        assert len(row["latency_ms"]["raw"]) == 6 and len(row["rounds"]) == 2
        assert row["p50_spread"] >= 1
        assert row["peak_rss_bytes"] > 1e6 and row["load_ms"] > 0 and row["first_call_ms"] > 0
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
        low, high = row["accuracy_ci95"]
        assert low <= row["accuracy"] <= high
    assert json.loads((out / "report.json").read_text()) == report
    assert report["verdict"] in (out / "report.md").read_text()


def test_the_report_tells_what_was_asked(world: World, report: dict[str, Any]) -> None:
    asked = report["asked"]
    assert asked["bundles"] == ["student-fp32"]
    assert (asked["task"], asked["ood"]) == ("tiny-nli.toml", ["elsewhere.toml"])
    assert (asked["teacher"], asked["shots"], asked["few_shots"]) == ("teacher", SHOTS, [2])
    assert str(world.teacher.parent) not in json.dumps(report)


def test_a_manifest_is_read_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(folder: Path) -> Any:
        read.append(folder)
        return read_manifest(folder)

    monkeypatch.setattr(run, "read_manifest", counted)
    with pytest.raises(InputError, match="need demonstrations"):
        bench(out=tmp_path / "out", **world.options(shots=0))
    assert read == [world.bundle]


NAIVE = ("teacher-icl", "teacher-icl-onnx-fp32", "same-size-icl", "same-size-icl-onnx-fp32")


@pytest.mark.parametrize("name", NAIVE)
def test_naive_and_cached_prompts_give_the_same_answers(report: dict[str, Any], name: str) -> None:
    naive, cached = row_of(report, name), row_of(report, name.replace("icl", "icl-cached"))
    same = naive["naive_equals_cached"]
    assert same["examples"] == 3
    assert same["label_mismatches"] == 0
    assert same["max_abs_logit_diff"] < 1e-3
    assert naive["accuracy_from"] == cached["system"]
    assert naive["accuracy"] == cached["accuracy"]
    held_as_constants = 0 if naive["runtime"] == "torch" else START_TOKENS
    assert naive["tokens_per_query_mean"] == pytest.approx(
        cached["tokens_per_query_mean"] + cached["context_tokens"] - held_as_constants
    )
    assert naive["shots_in_input"] == cached["shots_in_input"] == SHOTS


def test_the_reference_is_the_teachers_cached_prompt(report: dict[str, Any]) -> None:
    assert report["reference"] == "teacher-icl-cached-onnx-fp32"
    assert row_of(report, "same-size-zero-shot")["shots_in_input"] == 0
    row = row_of(report, report["reference"])
    assert row["agreement_with_teacher"] == 1.0
    assert row["accuracy_minus_teacher"]["difference"] == 0
    assert row["accuracy_minus_teacher"]["mcnemar_p"] == 1.0


@pytest.mark.parametrize("role", [role for role in BASELINES if role.endswith(("cached", "shot"))])
def test_a_prompt_on_onnxruntime_answers_as_in_pytorch(
    world: World, report: dict[str, Any], out: Path, role: str
) -> None:
    scores = []
    for name in (role, f"{role}-onnx-fp32"):
        stored = json.loads((out / "systems" / name / "evaluation.json").read_text())["result"]
        scores.append(log_softmax(np.array(stored["scores"]["tiny-nli"])))
    np.testing.assert_allclose(*scores, atol=1e-3)
    row = row_of(report, f"{role}-onnx-fp32")
    assert "torch" not in row["modules"] and "transformers" not in row["modules"]
    assert row["runtime"] == "onnxruntime" and row["precision"] == "fp32"


def test_prompts_to_compare_with_are_on_the_students_own_runtime(report: dict[str, Any]) -> None:
    student = row_of(report, "student-fp32")["faster_than"]
    assert student["naive"]["system"] == "teacher-icl-onnx-fp32"
    assert student["cached"]["system"] == "teacher-icl-cached-onnx-fp32"
    assert student["naive"]["ratio"] > 0
    zero_shot = row_of(report, "same-size-zero-shot")["faster_than"]
    assert zero_shot["naive"]["system"] == "teacher-icl"


def test_other_draws_of_demonstrations_are_tried(world: World, report: dict[str, Any]) -> None:
    row = row_of(report, "same-size-icl-cached")
    assert row["draws"]["count"] == len(row["draws"]["values"]) == 2
    assert row["draws"]["mean"] == pytest.approx(np.mean(row["draws"]["values"]))
    assert row["draws"]["sd"] == pytest.approx(np.std(row["draws"]["values"], ddof=1))
    train = read_split(world.task, "train").examples
    inputs = [dict(e.fields) for e in read_split(world.task, "validation").examples]
    shots = draw_demonstrations(train, world.task.labels, SHOTS, SEED, draw=1)
    assert shots != draw_demonstrations(train, world.task.labels, SHOTS, SEED)
    plain = full_prompt_log_probabilities(world, inputs, shots)
    unlabelled = calibration_inputs(train, shown_by(world, train), SEED)
    mean = full_prompt_log_probabilities(world, [dict(f) for f in unlabelled], shots).mean(axis=0)
    truth = [
        world.task.labels.index(str(e.label)) for e in read_split(world.task, "validation").examples
    ]
    assert row["draws"]["values"][1] == np.mean((plain - mean).argmax(1) == truth)


def shown_by(world: World, train: Any) -> list[Any]:
    """Every demonstration that the benchmark shows."""
    return [
        one for n in (SHOTS, 2) for one in draw_demonstrations(train, world.task.labels, n, SEED)
    ]


def full_prompt_log_probabilities(
    world: World, inputs: list[dict[str, str]], shots: Any = None
) -> np.ndarray:
    """The same-size prompt, worked out the long way: whole prompts, all logits of the model."""
    train = read_split(world.task, "train").examples
    shots = shots or draw_demonstrations(train, world.task.labels, SHOTS, SEED)
    model = transformers.AutoModelForCausalLM.from_pretrained(world.base).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(world.base)
    words = list(label_token_ids(tokenizer.backend_tokenizer, world.task.template, "x").values())
    context = shots.render(world.task.template)
    rows = []
    for fields in inputs:
        ids = tokenizer(context + "\n\n" + world.task.template.render(fields))["input_ids"]
        with torch.no_grad():
            rows.append(model(torch.tensor([ids])).logits[0, -1, words].log_softmax(-1).numpy())
    return np.array(rows)


def test_calibrated_accuracy_of_the_prompt_is_right(world: World, report: dict[str, Any]) -> None:
    train = read_split(world.task, "train").examples
    held = read_split(world.task, "validation").examples
    shown = shown_by(world, train)
    unlabelled = [dict(fields) for fields in calibration_inputs(train, shown, SEED)]
    assert not any(one.fields in unlabelled for one in shown)
    truth = [world.task.labels.index(str(example.label)) for example in held]
    plain = full_prompt_log_probabilities(world, [dict(example.fields) for example in held])
    # half of them, as onnxruntime has the same prompt, and there with all
    unlabelled = unlabelled[: len(unlabelled) // 2]
    mean = full_prompt_log_probabilities(world, unlabelled).mean(axis=0)
    row = row_of(report, "same-size-icl-cached")
    assert row["accuracy_uncalibrated"] == np.mean(plain.argmax(1) == truth)
    assert row["accuracy"] == np.mean((plain - mean).argmax(1) == truth)
    assert row["calibration_inputs"] == len(unlabelled)
    assert (plain.argmax(1) != (plain - mean).argmax(1)).any()  # else this proves nothing


def test_a_bundle_is_scored_as_a_device_would(world: World, report: dict[str, Any]) -> None:
    held = read_split(world.task, "validation").examples
    answers = Predictor.load(world.bundle).predict_batch([example.fields for example in held])
    right = [one.label == example.label for one, example in zip(answers, held, strict=True)]
    row = row_of(report, "student-fp32")
    assert row["accuracy"] == np.mean(right)
    assert row["calibration_inputs"] == 0
    assert row["disk_bytes"] == sum(file.stat().st_size for file in world.bundle.iterdir())
    assert row["runtime"] == "onnxruntime" and row["role"] == "student"


def test_a_bundle_is_measured_without_pytorch(report: dict[str, Any]) -> None:
    student, prompt = row_of(report, "student-fp32"), row_of(report, "same-size-zero-shot")
    assert "torch" not in student["modules"] and "transformers" not in student["modules"]
    assert "torch" in prompt["modules"]  # the list can tell
    assert student["peak_rss_bytes"] < prompt["peak_rss_bytes"]


def test_a_killed_benchmark_goes_on_with_what_is_missing(
    world: World, out: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, str]] = []

    def counted(name: str, spec: Any, *rest: Any) -> dict[str, Any]:
        measured.append((name, spec.get("do", "convert")))
        return measure(name, spec, *rest)

    monkeypatch.setattr(passes, "measure", counted)
    (out / "systems" / "student-fp32" / "round-2.json").unlink()
    (out / "systems" / "same-size-zero-shot-onnx-fp32" / "evaluation.json").unlink()
    again = write_report(bench(out=out, **world.options()))
    zero_shot = "same-size-zero-shot-onnx-fp32"
    assert measured == [(zero_shot, "convert"), (zero_shot, "evaluate"), ("student-fp32", "time")]
    for row in report["rows"]:
        name = row["system"]
        if name not in ("student-fp32", zero_shot):
            assert row_of(again, name) == {**row, "faster_than": row["faster_than"]}
        assert row_of(again, name)["accuracy"] == row["accuracy"]


def test_results_of_other_options_are_neither_mixed_nor_overwritten(
    world: World, out: Path, report: dict[str, Any]
) -> None:
    before = (out / "report.json").read_bytes()
    with pytest.raises(InputError, match=r"other options.*--force"):
        bench(out=out, **world.options(limit=5))
    assert (out / "report.json").read_bytes() == before


def test_a_folder_of_something_else_is_not_written_to(world: World, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already exists"):
        bench(out=tmp_path, **world.options())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_force_and_limit_and_a_naive_row_brings_its_cached_row(
    world: World, tmp_path: Path
) -> None:
    claim(tmp_path, HOLDS, force=False)
    stored = tmp_path / "systems" / "student-fp32" / "evaluation.json"
    stored.parent.mkdir(parents=True)
    stored.write_text('{"fingerprint": "old"}')
    options = world.options(baselines=(), limit=5, ood=())
    report = write_report(bench(out=tmp_path, force=True, **options))
    assert row_of(report, "student-fp32")["examples"] == 5
    assert any("5 of the 24" in note for note in report["notes"])
    assert row_of(report, "student-fp32")["agreement_with_teacher"] is None
    assert row_of(report, "student-fp32")["ood_accuracy"] == {}


def test_a_prompt_that_does_not_fit_is_left_out_and_said(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process: another one would take seconds to import PyTorch.
    def here(name: str, spec: Any, threads: int, program: str = WORKER) -> dict[str, Any]:
        return work(spec) if program == WORKER else make_prompt_models(spec)

    monkeypatch.setattr(passes, "measure", here)
    options = world.options(shots=28, baselines=("same-size-icl-cached",), ood=(), few_shots=())
    report = write_report(bench(out=tmp_path / "out", **options))
    assert [row["system"] for row in report["rows"]] == ["student-fp32"]
    for name in ("same-size-icl-cached", "same-size-icl-cached-onnx-fp32"):
        assert any(
            note.startswith(f"{name} was left out") and "--shots" in note
            for note in report["notes"]
        )


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL.*out of memory"),
        ("raise SystemError('no luck today')", "ended with code 1(.|\n)*no luck today"),
        ("pass", "left no result"),
    ],
)
def test_a_worker_that_dies_is_told(
    program: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying_worker.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EdgecdError, match="'the-student'") as caught:
        measure("the-student", {}, threads=1, program="dying_worker")
    assert caught.match(says)


def test_a_worker_does_not_outlive_the_benchmark(tmp_path: Path) -> None:
    (tmp_path / "slow_worker.py").write_text(
        "import os, pathlib, time\n"
        "from edgecd.host.processes import end_with_parent\n"
        "end_with_parent()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    program = (
        "from edgecd.bench.ledger import measure\n"
        "measure('the-student', {}, 1, program='slow_worker')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    pid = int(wait_for(lambda: (tmp_path / "pid").read_text()))
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(pid))


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of `what`, which may fail until then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := what():
                return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_model_that_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    options = world.options(
        teacher=str(tmp_path / "nowhere"),
        baselines=("teacher-icl-cached",),
        prompt_runtimes=("torch",),
        few_shots=(),
    )
    with pytest.raises(InputError, match=r"teacher-icl-cached(.|\n)*nowhere: no such folder"):
        bench(out=tmp_path / "out", **options)
    kept = tmp_path / "out" / "systems" / "student-fp32" / "evaluation.json"
    assert kept.exists()  # for the next try


def test_what_cannot_be_compared_is_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    strange = write_task(tmp_path, "strange", 4, {"yes": " Yes", "no": " No"}).source
    with pytest.raises(InputError, match="--ood strange: its labels"):
        bench(out=out, **world.options(ood=(strange,)))
    with pytest.raises(InputError, match=r"its labels.*not those of task"):
        bench(out=out, **world.options(task=strange, ood=()))
    text = write_task(tmp_path, "text", 5, template="{text} True or False?\nAnswer:").source
    with pytest.raises(InputError, match="no field hypothesis, premise"):
        bench(out=out, **world.options(ood=(text,)))
    with pytest.raises(InputError, match="two evaluation sets"):
        bench(out=out, **world.options(ood=(world.other.source, world.other.source)))
    with pytest.raises(InputError, match="two systems"):
        bench(out=out, **world.options(bundles=[world.bundle, world.bundle]))
    with pytest.raises(InputError, match=r"unknown baseline.*did you mean 'teacher-icl'"):
        bench(out=out, **world.options(baselines=("teacher-ic",)))
    with pytest.raises(InputError, match="need demonstrations"):
        bench(out=out, **world.options(shots=0))
    assert not out.exists()


def test_demonstrations_of_a_run(tmp_path: Path) -> None:
    rows = tiny.examples(4)
    path = tmp_path / "demonstrations.jsonl"
    tiny.write_jsonl(path, [{"draw": number // 2, **row} for number, row in enumerate(rows)])
    found = read_demonstrations(tmp_path)
    assert found is not None
    assert found.plain == [(row["fields"], row["label"]) for row in rows[:2]]
    assert read_demonstrations(tmp_path / "elsewhere") is None
    tiny.write_jsonl(path, [{"text": "what is this"}])
    with pytest.raises(InputError, match=r"demonstrations.jsonl:1: not a demonstration"):
        read_demonstrations(tmp_path)


def test_bundles_and_peers_are_timed_by_length_and_compared_with_the_checkpoint(
    world: World, tmp_path: Path
) -> None:
    options = world.options(
        baselines=(),
        run=world.run,
        peers=("torch-fp32", "optimum-dynamic-int8"),
        lengths=(32, 48),
        ood=(),
        limit=12,
    )
    found = bench(out=tmp_path / "out", **options)
    bundle, peer = (
        next(row for row in found.rows if row.kind == kind) for kind in ("bundle", "peer")
    )
    assert set(bundle.lengths) == set(peer.lengths) == {"32", "48"}
    assert all(one.ratio == 1 for one in bundle.lengths.values())
    for name, most in (("32", 32), ("48", 48)):
        # Both read the same tokens, at most as many as asked, and not many fewer.
        assert most - 12 < bundle.lengths[name].tokens == peer.lengths[name].tokens <= most
    assert bundle.labels_changed == peer.labels_changed == 0.0
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## Next to other runtimes" in page and "| 48 tokens, ms |" in page
    assert any("optimum-dynamic-int8" in note for note in found.notes)
    with pytest.raises(InputError, match="--lengths 4096: .* reads from 1 to 64 tokens"):
        bench(out=tmp_path / "other", **world.options(lengths=(4096,)))
