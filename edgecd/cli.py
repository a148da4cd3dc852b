"""The command line: parses, calls one function, prints for people or as JSON.

Heavy modules are imported inside each command, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecd import __version__
from edgecd.errors import EdgecdError, InputError

app = typer.Typer(
    help="Turn a prompt into a small on-device model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no remarks.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output folder.")]
Provider = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime.")]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    config: Annotated[Path | None, typer.Option(help="A TOML file; flags win over it.")] = None,
    task: Annotated[str | None, typer.Option(help="Built-in name or TOML file.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Folder, hub id or .gguf file.")] = None,
    student: Annotated[str | None, typer.Option(help="Folder, hub id or .gguf file.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="cd, pbft, mend, hypertuning or prompt-tuning (default: cd)."),
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
    from edgecd.errors import require
    from edgecd.files import read_toml
    from edgecd.mend.config import KINDS, MendConfig

    given = method or (read_toml(config).get("method") if config else None) or METHODS[0]
    if given not in (*METHODS, *KINDS):
        raise InputError(f"--method {given}: choose one of {', '.join((*METHODS, *KINDS))}")
    kind: type[Any] = KINDS.get(given, TrainConfig)
    settings = load_config(config, flags, kind)
    for module in ("torch", "transformers", "peft"):
        require(module, "train")
    from edgecd.console import Console
    from edgecd.distill.train import Reporter

    with Console(quiet) as console:
        reporter = Reporter(console.say, console.progress)
        if isinstance(settings, TrainConfig):
            from edgecd.distill.train import train as run_training

            run = run_training(settings, out, reporter, resume, force)
        elif isinstance(settings, MendConfig):
            from edgecd.mend.train import train_distiller

            run = train_distiller(settings, out, reporter, resume, force)
        else:
            from edgecd.mend.prompt_tuning import train_prompt

            run = train_prompt(settings, out, reporter, resume, force)
    _print(as_json, run, lambda: console.run_summary(run, out))


@app.command()
def compress(
    task: Annotated[str, typer.Option(help="Built-in name or TOML file.")],
    out: Annotated[Path, typer.Option(help="The context file to write (.safetensors).")],
    distiller: Annotated[
        Path | None,
        typer.Option(help="A run of --method mend or hypertuning, or what export made of one."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Without PyTorch: the language model, to calibrate with.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Keep all demonstrations, for this language model.")
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Demonstrations; 0 for none (zero-shot).")] = 16,
    seed: Annotated[int, typer.Option(help="Of the demonstrations.")] = 0,
    max_length: Annotated[int, typer.Option(min=8, help="Tokens of an input.")] = 256,
    calibrate: Annotated[
        bool, typer.Option(help="Take each label's mean off, on unlabelled inputs.")
    ] = True,
    fp16: Annotated[bool, typer.Option("--fp16", help="16 bits instead of 8.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a task's demonstrations into a context file, for a bundle of its language model."""
    from edgecd.compressor import is_compressor
    from edgecd.console import Console
    from edgecd.errors import require
    from edgecd.tasks import load_task

    precision = "fp16" if fp16 else "int8"
    if distiller is not None and is_compressor(distiller):
        from edgecd.runtime.compress import compress_here

        facts = compress_here(
            load_task(task), out, distiller, bundle, shots, seed, max_length, precision, force
        )
    else:
        for module in ("torch", "transformers"):
            require(module, "train")
        from edgecd.mend.compress import compress as run_compress

        facts = run_compress(
            load_task(task),
            out,
            distiller,
            model,
            shots,
            seed,
            max_length,
            calibrate,
            precision,
            device,
            force,
        )
    _print(as_json, facts, lambda: Console(False).facts(facts))


@app.command()
def meta_test(
    runs: Annotated[list[Path], typer.Argument(help="Runs of --method mend or hypertuning.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    seeds: Annotated[str, typer.Option(help="Of demonstrations and queries.")] = "13,21,42,87,100",
    limit: Annotated[int, typer.Option(min=1, help="Queries of each task.")] = 100,
    shots: Annotated[
        str | None, typer.Option(help="Demonstrations: 16, or 4,8,16 (default: as trained).")
    ] = None,
    prompt_steps: Annotated[
        int, typer.Option(min=0, help="Steps of prompt tuning beside; 0 leaves it out.")
    ] = 100,
    partition: Annotated[Path | None, typer.Option(help="Instead of the run's.")] = None,
    split: Annotated[str | None, typer.Option(help="Instead of the run's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the partition's data.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test contexts on tasks that were never trained on, against prompts and prompt tuning."""
    from edgecd.errors import require

    for module in ("torch", "transformers"):
        require(module, "train")
    from edgecd.console import Console
    from edgecd.mend.meta_test import TABLE
    from edgecd.mend.meta_test import meta_test as run_test

    with Console(quiet) as console:
        result = run_test(
            runs,
            out,
            _numbers("seeds", seeds),
            limit,
            _numbers("shots", shots or ""),
            prompt_steps,
            partition,
            split,
            data,
            device,
            force,
            console.say,
        )
    _print(as_json, result, lambda: typer.echo((out / TABLE).read_text(encoding="utf-8")))


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(help="A run folder that train wrote, or a language model.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle folder to write.")],
    fp32: Annotated[bool, typer.Option("--fp32", help="Full precision (the default).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit, gated.")] = False,
    int4: Annotated[bool, typer.Option("--int4", help="4-bit weights: smaller, slower.")] = False,
    target: Annotated[
        str | None, typer.Option(help="laptop-cpu, cuda, web or size: precision and gate for it.")
    ] = None,
    max_flips: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Most labels, in percent, that may flip (2; int4: 10)."),
    ] = None,
    trim_vocab: Annotated[
        Path | None,
        typer.Option(help="Keep only tokens that these inputs use (.jsonl, or text by line)."),
    ] = None,
    exporter: Annotated[str, typer.Option(help="auto, fused, torch or optimum.")] = "auto",
    task: Annotated[
        str | None, typer.Option(help="Of a language model: whose examples check the bundle.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="Of a language model: the context to put in (zero-shot).")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run, or a frozen language model, as an ONNX bundle, checked on held-out examples."""
    chosen = [
        name
        for name, given in (("fp32", fp32), ("fp16", fp16), ("int8", int8), ("int4", int4))
        if given
    ]
    if len(chosen) > 1:
        raise InputError(f"--{' and --'.join(chosen)} exclude each other: export twice")
    if chosen and target:
        raise InputError(f"--target {target} says the precision itself: leave out --{chosen[0]}")
    from edgecd.errors import require
    from edgecd.export.target import Target, load_target

    wanted = load_target(target) if target else Target("", precision=(chosen or ["fp32"])[0])

    require("torch", "train")
    require("onnx", "export")
    from edgecd.console import Console
    from edgecd.export.convert import export_run
    from edgecd.export.run_folder import is_distiller

    with Console(quiet) as console:
        if task is not None or context is not None:
            if task is None or trim_vocab or exporter not in ("auto", "fused"):
                raise InputError(
                    "a language model needs --task T, whose examples check the bundle, and goes "
                    "with neither --trim-vocab nor another --exporter"
                )
            from edgecd.export.language_model import export_language_model
            from edgecd.tasks import load_task

            result = export_language_model(
                str(run),
                load_task(task),
                out,
                wanted.precision,
                max_flips,
                context,
                force,
                console.say,
                wanted.weight_bits,
            )
        elif is_distiller(run):
            from edgecd.export.compressor import export_compressor

            result = export_compressor(run, out, wanted.precision, force, console.say)
        else:
            result = export_run(
                run,
                out,
                wanted.precision,
                max_flips,
                exporter,
                force,
                console.say,
                wanted.weight_bits,
                trim_vocab,
            )
    kind = "compressor" if "compressor" in result else "bundle"
    _print(as_json, result, lambda: console.show(f"{kind}: {out}"))


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    text: Annotated[str | None, typer.Argument(help="The input, or - for JSONL on stdin.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="name=value, once for each field of the template.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="A context file, for a language model's bundle.")
    ] = None,
    provider: Provider = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Label one input, or JSON lines from stdin with '-'."""
    from edgecd.runtime.predictor import Predictor
    from edgecd.runtime.stream import predict_stream

    if (text is None) == (not field):
        raise InputError("give a TEXT, or --field name=value for each field, or - for stdin")
    predictor = Predictor.load(bundle, provider, threads, context)
    if text == "-":
        for line in predict_stream(predictor, sys.stdin):
            typer.echo(line)
        return
    given: str | dict[str, str] = text if text is not None else _fields(field or [])
    prediction = predictor.predict(given)
    result = {"label": prediction.label, "probabilities": dict(prediction.probabilities)}

    def show() -> None:
        best = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        typer.echo(prediction.label)
        typer.echo("  ".join(f"{name} {share:.3f}" for name, share in best), err=True)
        if prediction.shortened:
            typer.echo("note: the input was too long; its longest field was shortened", err=True)

    _print(as_json, result, show)


@app.command()
def bench(
    bundles: Annotated[list[Path] | None, typer.Argument(help="Bundles to compare.")] = None,
    out: Annotated[Path | None, typer.Option(help="The report folder to write.")] = None,
    task: Annotated[str | None, typer.Option(help="Built-in name or TOML file.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Measure nothing: two reports, A and B, side by side."),
    ] = None,
    ood: Annotated[list[str] | None, typer.Option(help="Out-of-domain tasks.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Teacher model; by default the bundle's own.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Same-size model; by default the bundle's own.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder, for its exact demonstrations.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Demonstrations of the ICL rows.")] = None,
    few_shots: Annotated[
        str | None,
        typer.Option(help="Fewer demonstrations to try the teacher with, or 'none' (4,8)."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="Draws of demonstrations, for the spread of accuracy.")
    ] = 3,
    seed: Annotated[int | None, typer.Option(help="Of the demonstrations.")] = None,
    baselines: Annotated[
        str | None,
        typer.Option(help="Comma-separated ICL rows, 'all' or 'none' (default: all)."),
    ] = None,
    prompt_runtimes: Annotated[
        str | None,
        typer.Option(help="What runs the ICL rows: onnxruntime,torch (default: both)."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help="Other runtimes for the run's checkpoint, or 'all' that are installed."),
    ] = None,
    context: Annotated[
        list[Path] | None, typer.Option(help="Context files for a language model's bundle.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Times that each row is timed, in turn with the others.")
    ] = 3,
    provider: Provider = "cpu",
    threads: Threads = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples of each data set.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the task (default: validation, else test).")
    ] = None,
    latency_queries: Annotated[
        int | None, typer.Option(min=1, help="Timed single queries of each row.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare bundles with prompting, on this machine: accuracy, latency, footprint."""
    from edgecd.bench.report import comparison_notes, comparison_table, table
    from edgecd.console import Console

    if compare is not None:
        if bundles or out or task:
            raise InputError("--compare only reads two reports: leave out BUNDLES, --task, --out")
        from edgecd.bench.compare import compare_reports

        changes = compare_reports(*compare)
        shown = (comparison_table(changes), *comparison_notes(changes))
        _print(as_json, changes, lambda: Console(quiet).show(*shown))
        return
    if not bundles or task is None or out is None:
        raise InputError(
            "bench needs bundles, --task and --out to measure, or two reports with --compare A B"
        )
    from edgecd.bench.plan import FEW_SHOTS
    from edgecd.bench.publish import REPORT_PAGE
    from edgecd.bench.run import bench as run_bench
    from edgecd.tasks import load_task

    with Console(quiet) as console:
        report = run_bench(
            bundles=bundles,
            task=load_task(task),
            out=out,
            ood=[load_task(name) for name in ood or []],
            teacher=teacher,
            student_base=student,
            shots=shots,
            few_shots=FEW_SHOTS if few_shots is None else _numbers("few-shots", few_shots),
            draws=draws,
            seed=seed,
            run=run,
            provider=provider,
            threads=threads,
            limit=limit,
            split=split,
            rounds=rounds,
            prompt_runtimes=None if prompt_runtimes is None else _names(prompt_runtimes),
            peers=_names(peers),
            contexts=context or [],
            latency_queries=latency_queries,
            baselines=None if baselines in (None, "all") else _names(baselines),
            force=force,
            progress=console.say,
        )
    _print(
        as_json,
        report,
        lambda: console.show(table(report), report["verdict"], f"report: {out / REPORT_PAGE}"),
    )


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
    from edgecd.sweep.suite import load_suite

    options = {"task": task, "ood": ood, "teacher": teacher, "student": student, "limit": limit}
    chosen = load_suite(suite, options)
    from edgecd.errors import CheckFailed, require

    for module in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(module) is None:  # the cells import them, not this process
            require(module, "train")
    from edgecd.console import Console
    from edgecd.sweep.run import TABLE, run_sweep

    with Console(quiet) as console:
        result = run_sweep(chosen, out, console.say, threads, force, keep_checkpoints)
    _print(as_json, result, lambda: typer.echo((out / TABLE).read_text(encoding="utf-8")))
    if result["failed"]:
        raise CheckFailed(
            f"these cells failed: {', '.join(result['failed'])} (their last words are in "
            f"{out / TABLE}); the same command tries them again"
        )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("edgecd-demo"),
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole path on an embedded task and model; no network after install."""
    from edgecd.errors import require

    for module, extra in (("torch", "train"), ("onnx", "export"), ("onnxruntime", "cpu")):
        require(module, extra)
    from edgecd.console import Console
    from edgecd.demo.run import run_demo

    result = run_demo(out, force, quiet, Console(quiet, results=not as_json))
    _print(as_json, result, lambda: None)


@app.command()
def inspect(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle folder, a context file, or a distiller's run.")
    ],
    attention: Annotated[
        bool, typer.Option("--attention", help="Of a run: what its vectors attend to.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Whose demonstrations it reads.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Demonstrations that it reads.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the demonstrations.")] = 0,
    out: Annotated[Path, typer.Option(help="The figure's name without ending.")] = Path(
        "attention"
    ),
    as_json: Json = False,
) -> None:
    """What a bundle or a context is, how it was made, and its figures."""
    from edgecd.console import Console

    if attention:
        if task is None:
            raise InputError("--attention reads demonstrations: say of which --task")
        from edgecd.errors import require

        for module, extra in (("torch", "train"), ("matplotlib", "report")):
            require(module, extra)
        from edgecd.mend.attention import show_attention
        from edgecd.tasks import load_task

        facts = show_attention(bundle, load_task(task), out, shots, seed)
        _print(as_json, facts, lambda: Console(False).facts(facts))
        return
    if bundle.is_file():
        from edgecd.context import describe_context

        facts = describe_context(bundle)
        _print(as_json, facts, lambda: Console(False).facts(facts))
        return
    from edgecd.runtime.inspect import describe, render

    result = describe(bundle)
    _print(as_json, result, lambda: Console(False).show(render(result)))


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")], as_json: Json = False
) -> None:
    """Check a bundle's hashes, graph and parity samples; exit 1 on any mismatch."""
    from edgecd.runtime.verify import verify as check

    result = check(bundle)
    _print(as_json, result, lambda: typer.echo(f"{bundle}: ok"))


@app.command()
def tasks(as_json: Json = False) -> None:
    """The built-in tasks, and what each needs."""
    from edgecd.console import Console
    from edgecd.tasks import builtin_tasks

    rows = [
        {
            "task": name,
            "labels": list(task.labels),
            "fields": list(task.template.fields),
            "splits": list(task.splits),
            "needs": f"hub data set {task.hub}" if task.hub else "nothing",
        }
        for name, task in builtin_tasks().items()
    ]
    _print(as_json, {"tasks": rows}, lambda: Console(False).table("built-in tasks", rows))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has: processor, memory, providers, versions."""
    from edgecd.console import Console
    from edgecd.machine import describe_machine

    result = describe_machine()
    _print(as_json, result, lambda: Console(False).facts(result))


def main() -> None:
    """Entry point: one line for an error that a person can mend, and its exit code."""
    try:
        app(standalone_mode=True)
    except EdgecdError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; --resume goes on from the last saved state", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None


def _print(as_json: bool, result: dict[str, Any], show: Callable[[], None]) -> None:
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
    else:
        show()


def _fields(given: list[str]) -> dict[str, str]:
    fields = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--field {pair}: write name=value")
        fields[name] = value
    return fields


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip() not in ("", "none")]


def _numbers(option: str, text: str) -> list[int]:
    names = _names(text)
    if not all(name.isdecimal() for name in names):
        raise InputError(f"--{option} {text}: write whole numbers with commas between, or none")
    return [int(name) for name in names]
