"""The commands that train: `train` and `sweep`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecd.cli.options import Force, Json, Quiet, Threads, app, print_result
from edgecd.errors import InputError


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    config: Annotated[Path | None, typer.Option(help="A TOML file; flags win over it.")] = None,
    task: Annotated[str | None, typer.Option(help="Built-in name or TOML file.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Folder, hub id or .gguf file.")] = None,
    student: Annotated[str | None, typer.Option(help="Folder, hub id or .gguf file.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="cd, pbft, mend, gist, hypertuning or prompt-tuning (default: cd)."),
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="lora, bitfit or full.")] = None,
    head: Annotated[
        str | None,
        typer.Option(help="labels, or vocabulary: PBFT as commonly done, as a reference."),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="NLI pattern: minimal, gpt-3 or eval-harness.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations in the context.")] = None,
    context_draws: Annotated[
        int | None, typer.Option(help="Demonstration sets to average the teacher over.")
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate", help="Take each label's mean off the teacher's scores."
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of KL against CE.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of teacher and student.")] = None,
    use_labels: Annotated[
        bool | None,
        typer.Option(
            "--use-labels/--no-use-labels", help="CE on the transfer set's own labels too."
        ),
    ] = None,
    transfer: Annotated[int | None, typer.Option(help="Inputs to distil on.")] = None,
    heldout: Annotated[int | None, typer.Option(help="Most held-out examples.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the examples.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in a step.")] = None,
    lora_rank: Annotated[int | None, typer.Option(help="Rank of LoRA.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of an input.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Evaluations without progress before stopping.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of demonstrations, order and dropout.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Folder of teacher scores to share between runs.")
    ] = None,
    distiller: Annotated[
        str | None,
        typer.Option(help="mend: what the distiller starts from (default: the student)."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="mend: a run to go on from, as one of stage 1 for many partitions."),
    ] = None,
    vectors: Annotated[
        int | None, typer.Option(help="mend and prompt tuning: positions of a context.")
    ] = None,
    partition: Annotated[
        Path | None, typer.Option(help="mend: a file of tasks to train on, and to test on.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="mend: which split of the partition.")] = None,
    data: Annotated[Path | None, typer.Option(help="mend: folder of the partition's data.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="mend: plain text for stage 1, a file or NAME:CONFIG:SPLIT.")
    ] = None,
    pretrain_steps: Annotated[int | None, typer.Option(help="mend: steps of stage 1.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="mend: steps of stage 2; prompt tuning: steps.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Distil demonstrations into a student, fine-tune one, or learn to compress demonstrations."""
    flags = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in locals().items()
        if key not in ("out", "config", "resume", "force", "as_json", "quiet")
    }
    from edgecd.config import METHODS, TrainConfig, load_config
    from edgecd.contexts.config import KINDS, MendConfig
    from edgecd.errors import require
    from edgecd.files import read_toml

    given = method or (read_toml(config).get("method") if config else None) or METHODS[0]
    if given not in (*METHODS, *KINDS):
        raise InputError(f"--method {given}: choose one of {', '.join((*METHODS, *KINDS))}")
    kind: type[Any] = KINDS.get(given, TrainConfig)
    settings = load_config(config, flags, kind)
    for module in ("torch", "transformers", "peft"):
        require(module, "train")
    from edgecd.console import Console
    from edgecd.training.distil import Reporter

    with Console(quiet) as console:
        reporter = Reporter(console.say, console.progress)
        if isinstance(settings, TrainConfig):
            from edgecd.training.distil import train as run_training

            run = run_training(settings, out, reporter, resume, force)
        elif isinstance(settings, MendConfig):
            from edgecd.contexts.train import train_distiller

            run = train_distiller(settings, out, reporter, resume, force)
        else:
            from edgecd.contexts.prompt_tuning import train_prompt

            run = train_prompt(settings, out, reporter, resume, force)
    print_result(as_json, run, lambda: console.run_summary(run, out))


@app.command()
def sweep(
    suite: Annotated[Path, typer.Argument(help="A suite: what to run, as TOML.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    task: Annotated[str | None, typer.Option(help="Instead of the suite's task.")] = None,
    ood: Annotated[list[str] | None, typer.Option(help="Instead of the suite's.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Instead of the suite's teacher.")] = None,
    student: Annotated[str | None, typer.Option(help="Instead of the suite's student.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluated examples of each data set.")
    ] = None,
    threads: Threads = None,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep every student that is trained.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run cells anew that the suite has changed.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a suite, methods x adapters x shots x seeds, a process each; goes on where it stopped."""
    from edgecd.sweep.config import SweepConfig
    from edgecd.sweep.suite import load_suite

    config = SweepConfig(task, tuple(ood or ()), teacher, student, limit, threads, keep_checkpoints)
    chosen = load_suite(suite, config)
    from edgecd.errors import CheckFailed, require

    for module in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(module) is None:  # the cells import them, not this process
            require(module, "train")
    from edgecd.console import Console
    from edgecd.sweep.record import sweep_json
    from edgecd.sweep.run import TABLE, run_sweep

    with Console(quiet) as console:
        result = run_sweep(chosen, out, config, console.say, force)
    table = out / TABLE
    show = sweep_json(result)
    print_result(as_json, show, lambda: typer.echo(table.read_text(encoding="utf-8")))
    if result.failed:
        raise CheckFailed(
            f"these cells failed: {', '.join(result.failed)} (their last words are in "
            f"{out / TABLE}); the same command tries them again"
        )
