"""Commands that write, on tiny models, in processes that can be killed at any moment.

Forks of one process that has imported all, as importing PyTorch would take most of the time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from edgecd.bench.config import BenchConfig
from edgecd.contexts.config import CompressConfig, MendConfig, MetaTestConfig, PromptTuningConfig
from edgecd.export.config import ExportConfig
from edgecd.sweep.config import SweepConfig
from edgecd.training.config import TrainConfig
from tests import mend_world, sweep_world

KILLS_A_TRIAL = 3


@dataclass(frozen=True)
class Command:
    """A command that writes `out`, and goes on or begins anew when it is run again.

    `outcome` tells two outputs apart, but for clocks. Where `whole` is given, an older output
    stands at `out` from the start (`older`), and is or is not replaced: `whole` raises unless one
    of the two is there.
    """

    name: str
    run: Callable[[Path], object]
    outcome: Callable[[Path], str]
    older: Callable[[Path], object] | None = None
    whole: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class Told:
    """What the trials of a command came to: kills, and how many trials ended otherwise."""

    trials: int
    kills: int
    differ: tuple[str, ...]

    def __add__(self, other: Told) -> Told:
        return Told(
            self.trials + other.trials, self.kills + other.kills, self.differ + other.differ
        )


def fork(work: Callable[[], object], log: IO[bytes]) -> int:
    """Do `work` in a fork, which says to `log`; returns its process id. It leads a group."""
    child = os.fork()
    with contextlib.suppress(OSError):  # in both: neither waits for the other
        os.setpgid(child, child)
    if child == 0:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        code = 1
        with contextlib.suppress(SystemExit):
            try:
                work()
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    return child


def run_module(
    module: str,
    arguments: Sequence[str],
    threads: int,
    log: IO[bytes],
    keep: Sequence[int] = (),
) -> int:
    """As `processes.run_module`, in a fork."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.dup2(theirs, 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.argv = [module, *arguments]
        code = 1
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os._exit(code)
    os.close(theirs)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(ours)


def prepare() -> None:
    """Make this process one whose forks are ready at once; call it before anything else."""
    import torch

    from edgecd.bench import ledger, run
    from edgecd.contexts import compress, meta_test, train  # noqa: F401
    from edgecd.export import convert  # noqa: F401
    from edgecd.host import processes
    from edgecd.sweep import cell, run  # noqa: F401, F811
    from edgecd.training import distil, loop  # noqa: F401

    torch.set_num_threads(1)
    for module in (processes, ledger):
        module.run_module = run_module  # type: ignore[assignment, attr-defined]
    loop.SAVE_EVERY_S = 0.0  # tiny trainings last a second


def try_command(command: Command, trials: int, folder: Path, seed: int = 0) -> Told:
    """Run it once to its end; then `trials` times, killed a few times and gone on with."""
    chance = random.Random(f"{command.name} {seed}")
    began = time.monotonic()
    expected, _ = _trial(command, folder / "whole", lambda: None)
    took = time.monotonic() - began
    assert expected is not None, (folder / "whole.log").read_text()
    kills, differ = 0, []
    for trial in range(trials):
        for _ in range(2):  # rarely is none of a trial's kills in time
            out = folder / f"trial-{trial}"
            found, count = _trial(command, out, lambda: chance.uniform(0.02, 0.9) * took)
            kills += count
            if found != expected:
                differ.append(f"trial {trial}: {(folder / f'{out.name}.log').read_text()[-800:]}")
            else:
                shutil.rmtree(out, ignore_errors=True)
            if count:
                break
    return Told(trials, kills, tuple(differ))


def _trial(
    command: Command, folder: Path, patience_s: Callable[[], float | None]
) -> tuple[str | None, int]:
    """(the outcome, or None where it failed, and the number of kills)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out, kills = folder / "out", 0
    with folder.with_name(f"{folder.name}.log").open("w+b") as log:
        if command.older is not None and _wait(fork(lambda: command.older(out), log), None):
            return None, 0
        for last in (*(False,) * KILLS_A_TRIAL, True):
            limit_s = None if last else patience_s()
            code = _wait(fork(lambda: command.run(out), log), limit_s)
            kills += code == -signal.SIGKILL
            if command.whole is not None:
                try:
                    command.whole(out)
                except Exception as lost:
                    log.write(f"lost: {lost}\n".encode())
                    return None, kills
            if code == 0:
                return command.outcome(out), kills
            if code != -signal.SIGKILL:
                return None, kills
    return None, kills


def _wait(child: int, limit_s: float | None) -> int:
    """The exit code of a fork, which is killed, with its children, after `limit_s`."""
    deadline = None if limit_s is None else time.monotonic() + limit_s
    while True:
        done, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            deadline = None
        time.sleep(0.002)


def digest(*files: Path) -> str:
    """Of the files' bytes."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def of_run(out: Path) -> str:
    """A student's run: its weights, what was shown, and its figures."""
    made = json.loads((out / "run.json").read_text())
    told = json.dumps([made["metrics"], made["steps"], made["class_shares"]])
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    files = (out / "checkpoint" / "model.safetensors", out / "demonstrations.jsonl")
    return digest(*files) + told + str([line["step"] for line in steps])


def of_distiller(out: Path) -> str:
    """A distiller's run: its weights, and its losses."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    told = [{key: value for key, value in line.items() if not key.endswith("_s")} for line in lines]
    return digest(out / "distiller.safetensors") + json.dumps(told)


def of_context(out: Path) -> str:
    """A context file's arrays, by name."""
    from safetensors.numpy import load_file

    arrays = sorted(load_file(out).items())
    return hashlib.sha256(b"".join(array.tobytes() for _, array in arrays)).hexdigest()


def of_sweep(out: Path) -> str:
    """A sweep's table without its costs."""
    return sweep_world.without_cost(out)


def of_bench(out: Path) -> str:
    """A report's rows, by name: what does not depend on the clock."""
    report = json.loads((out / "report.json").read_text())
    return json.dumps([[row["system"], row["accuracy"], row["role"]] for row in report["rows"]])


def commands(root: Path) -> list[Command]:
    """All commands that write, in worlds made under `root`; it trains what they start from."""
    from edgecd.bench.run import bench
    from edgecd.console import SILENT
    from edgecd.contexts.compress import compress
    from edgecd.contexts.meta_test import meta_test
    from edgecd.contexts.methods import METHODS
    from edgecd.export.convert import export_run
    from edgecd.formats.context import describe_context, write_context
    from edgecd.runtime.verify import verify
    from edgecd.sweep.run import run_sweep
    from edgecd.sweep.suite import load_suite
    from edgecd.training.distil import train

    world = sweep_world.make_world(root)
    mend = mend_world.make_world(root / "mend")
    asked = TrainConfig(
        task=world["task"],
        teacher=world["teacher"],
        student=world["student"],
        shots=4,
        transfer=48,
        heldout=16,
        batch_size=8,
        epochs=4,
        lr=1e-3,
        dtype="float32",
    )
    distiller = MendConfig(**mend_world.mend_options(mend, pretrain_steps=12, steps=12))
    tuned = PromptTuningConfig(
        task=world["task"], student=world["student"], vectors=4, shots=4, steps=30, device="cpu"
    )

    def prepared(name: str, work: Callable[[Path], object]) -> Path:
        """What a command starts from, made in a fork: this process stays without threads."""
        with (root / f"{name}.log").open("w+b") as log:
            assert _wait(fork(lambda: work(root / name), log), None) == 0, log.name
        return root / name

    run = prepared("run", lambda out: train(asked, out, SILENT))
    network = prepared("network", lambda out: METHODS["mend"].train(distiller, out, SILENT))
    bundle = prepared("bundle", lambda out: export_run(run, out, ExportConfig()))
    matched = CompressConfig(
        task=world["task"], model=str(root / "llama"), positions=8, shots=4, precision="fp16"
    )

    def either(out: Path) -> None:
        """The old run, where it was or set aside, or the new one, is complete."""
        places = (out, out.with_name(f".{out.name}.replaced"))
        assert any((place / "run.json").exists() for place in places), "no complete run is left"

    def trained(method: str, config: Any) -> Callable[[Path], object]:
        return lambda out: METHODS[method].train(config, out, SILENT, True, True)

    def anew(config: Any) -> Callable[[Path], object]:
        def again(out: Path) -> None:
            begun = (out / "config.toml").exists() and not (out / "run.json").exists()
            train(config, out, SILENT, resume=begun, force=not begun)

        return again

    return [
        Command("train cd lora", trained("cd", asked), of_run),
        Command("train cd full", trained("cd", replace(asked, adapter="full")), of_run),
        Command(
            "train pbft",
            trained("pbft", replace(asked, method="pbft", adapter="bitfit", use_labels=True)),
            of_run,
        ),
        Command(
            "train --force",
            anew(replace(asked, seed=1)),
            of_run,
            lambda out: train(asked, out, SILENT),
            either,
        ),
        Command(
            "export --force",
            lambda out: export_run(run, out, ExportConfig("int8", max_flips=50.0), force=True),
            lambda out: digest(out / "model.onnx", out / "tokenizer.json"),
            lambda out: export_run(run, out, ExportConfig()),
            verify,
        ),
        Command("mend", trained("mend", distiller), of_distiller),
        Command("gist", trained("gist", replace(distiller, method="gist")), of_distiller),
        Command(
            "prompt-tuning",
            trained("prompt-tuning", tuned),
            lambda out: of_context(out / "context.safetensors"),
        ),
        Command(
            "compress --force",
            lambda out: write_context(out, compress(matched), "fp16"),
            of_context,
            lambda out: write_context(out, compress(replace(matched, seed=1)), "fp16"),
            describe_context,
        ),
        Command(
            "meta-test",
            lambda out: meta_test([network], out, MetaTestConfig(seeds=(1, 2), limit=8)),
            lambda out: (out / "table.md").read_text(),
        ),
        Command(
            "sweep",
            lambda out: run_sweep(
                load_suite(root / "small.toml", SweepConfig(**world)),
                out,
                SweepConfig(threads=1),
                SILENT,
            ),
            of_sweep,
        ),
        Command(
            "bench",
            lambda out: bench(
                [bundle],
                BenchConfig(
                    task=world["task"],
                    run=run,
                    baselines=("teacher-icl-cached",),
                    prompt_runtimes=("torch",),
                    few_shots=(),
                    rivals=("majority",),
                    draws=1,
                    rounds=2,
                    limit=8,
                    threads=1,
                ),
                out,
            ),
            of_bench,
        ),
    ]
