"""From a run folder to a bundle: write the graph, quantize it, and let the gate decide."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.console import SILENT, Reporter
from edgecd.errors import CheckFailed, InputError, require
from edgecd.export import parity
from edgecd.export.activations import Feed, linears, make_feeds
from edgecd.export.audit import audit, refuse_folded
from edgecd.export.config import ExportConfig
from edgecd.export.layouts import transformers_js
from edgecd.export.recipes import RECIPES, Candidate
from edgecd.export.run_folder import RunFolder, load_run
from edgecd.export.samples import record_samples
from edgecd.export.selective import Selective, choose_threshold, measure
from edgecd.export.source import Source, read_source
from edgecd.formats.bundle import Layout, write_bundle
from edgecd.formats.context import Context
from edgecd.formats.contract import HEAD, PAST
from edgecd.formats.manifest import MODEL, Manifest
from edgecd.formats.precision import FP32, PRECISIONS, Precision, find_precision
from edgecd.host.folders import refuse_existing
from edgecd.runtime.predictor import Predictor, softmax
from edgecd.runtime.session import open_session, signature
from edgecd.tasks.answerer import Fields, answered
from edgecd.tasks.batching import BATCH_TOKENS
from edgecd.tasks.control import without_control
from edgecd.tasks.encoding import Encoded, constant_prefix
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel

GRAPH_CHECK_EXAMPLES = 64


@dataclass(frozen=True)
class Job:
    """What an export starts from besides its graph.

    On `measured` inputs activation statistics are made. `reference` holds PyTorch's logits on the
    gate's examples; on its first ones where the graph is `exact`, which they must show before it
    answers for the rest. A language model's export has a context, in memory and as a file;
    `changes` join the provenance, and `layout` the bundle.
    """

    loaded: RunFolder
    measured: list[Fields]
    gate: parity.HeldOut
    reference: NDArray[np.float32]
    exact: bool
    changes: dict[str, Any] = field(default_factory=dict)
    context: Context | None = None
    context_file: Path | None = None
    layout: Layout | None = None


@dataclass(frozen=True)
class Passed:
    """The graph that passed the gate, as the device runs it, and all that was tried."""

    candidate: Candidate
    predictor: Predictor
    found: parity.Parity
    tried: list[parity.Trial]


def export_run(
    run: Path,
    out: Path,
    config: ExportConfig | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Export RUN/checkpoint as a bundle at `out`; returns what was done, as JSON.

    The first treatment, fastest first, whose answers differ from the PyTorch checkpoint's on at
    most `config.max_flips_pct` percent of the held-out examples is kept. `config` None means full
    precision. Raises CheckFailed, with all that was tried, when no treatment passes; InputError for
    a run that is not finished or an `out` that is there without `force`.
    """
    config = config or ExportConfig()
    precision = find_precision(config.goal.precision)
    need_export()
    refuse_existing(out, force, [run])
    started = time.perf_counter()
    from edgecd.lm.checkpoint import Checkpoint

    loaded, model = load_run(run)
    heldout = parity.read_heldout(run, loaded.tokenizer, loaded.template, loaded.max_length)
    measured, gate = parity.split(heldout)
    exact = precision.is_quantized and config.trim_vocab is None
    seen = gate.first(GRAPH_CHECK_EXAMPLES) if exact else gate
    say = reporter.say
    say(f"PyTorch checkpoint on {len(seen.fields)} held-out examples")
    answerer = Checkpoint(
        model,
        loaded.tokenizer,
        loaded.template,
        loaded.max_length,
        parity.REFERENCE_ROWS,
        BATCH_TOKENS,
    )
    reference = answered(
        answerer.logits, seen.fields, partial(reporter.progress, "PyTorch checkpoint")
    )
    trimmed: dict[str, Any] = {}
    if config.trim_vocab is not None:
        loaded, trimmed = _trim(model, loaded, config.trim_vocab, say)
    layout = None
    if config.layout is not None:
        layout = transformers_js(run / "checkpoint", loaded, precision.name)
        if loaded.template.form == "pair":
            say("transformers.js: its pipeline reads one text; pairs go to its tokenizer and model")
    template = loaded.template
    prefix = constant_prefix(loaded.tokenizer, template) if template.form == "prompt" else ()
    fused_for = precision.name if RECIPES[precision.name].needs_fused else None
    source = read_source(model, run / "checkpoint", config.exporter, fused_for, prefix, say)
    del model, answerer  # the graph has its weights; two copies are enough
    job = Job(loaded, measured, gate, reference, exact, trimmed, layout=layout)
    sources = [source]
    del source
    return finish(job, sources, out, config, force, reporter, started)


def need_export() -> None:
    """Raise MissingExtra unless graphs can be written and run here."""
    for module, extra in (("onnx", "export"), ("onnx_ir", "export"), ("onnxruntime", "cpu")):
        require(module, extra)


def finish(
    job: Job,
    sources: list[Source],
    out: Path,
    config: ExportConfig,
    force: bool,
    reporter: Reporter,
    started: float,
) -> dict[str, Any]:
    """Treat the one source graph, which is taken out of the list, and write what passes the gate.

    `started` is when the export began, of `time.perf_counter`. Raises CheckFailed, with all that
    was tried, when nothing passes.
    """
    source = sources.pop()  # so that nobody else keeps its weights
    loaded = replace(job.loaded, tokenizer=without_control(job.loaded.tokenizer))
    job = replace(job, loaded=loaded)
    gate, reference = job.gate, job.reference
    precision = find_precision(config.goal.precision)
    # Beside the bundle, as temporary folders are memory on some machines.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.work.") as work:
        desk = _Desk(job, source.prefix, Path(work))
        if job.exact:
            reporter.say(f"full precision on {len(gate.fields)} held-out examples")
            reference = _exact_logits(desk, source.graph, gate, reference, reporter)
        names = [value.name for value in source.graph.graph.input]
        feeds = desk.feeds(parity.encode(job.measured, loaded), names)
        made = RECIPES[precision.name].make(source, feeds, config.goal.weight_bits, reporter)
        used, linear_layers = source.exporter, _linear_layers(source)
        del source
        passed = _first_to_pass(
            made, desk, precision, gate, reference, config.max_flips_pct, reporter
        )
        audited = audit(desk.path)
        if precision.is_quantized:
            refuse_folded(passed.candidate.graph, audited, linear_layers)
        selective = _selective(config, passed.predictor, gate)
        manifest = replace(
            passed.predictor.manifest,
            threshold=None if selective is None else selective.threshold,
            samples=record_samples(passed.predictor),
            parity={
                **asdict(passed.found),
                "flips_pct": round(passed.found.flips_pct, 3),
                "max_flips_pct": config.max_flips_pct,
                "treatment": passed.candidate.treatment,
                "treatment_description": passed.candidate.description,
                "tried": [one.to_json() for one in passed.tried],
                **({} if selective is None else {"selective": asdict(selective)}),
            },
            provenance={
                **loaded.made,
                **job.changes,
                "export": {**_made_by(used), **audited.metadata()},
            },
        )
        tokenizer = loaded.tokenizer.to_str()
        written = write_bundle(
            out, manifest, desk.path, tokenizer, force, job.context_file, job.layout
        )
    return {
        "bundle": str(out),
        "precision": precision.name,
        "exporter": used,
        "treatment": passed.candidate.treatment,
        "prefix_tokens": len(written.prefix_ids),
        "parity": dict(written.parity),
        "size_bytes": written.size_bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


@dataclass(frozen=True)
class _Desk:
    """Where graphs are tried that are not a bundle yet."""

    job: Job
    prefix: tuple[int, ...]
    work: Path

    @property
    def path(self) -> Path:
        """The file of the graph that is being tried."""
        return self.work / MODEL

    def predictor(self, graph: onnx.ModelProto, precision: str) -> Predictor:
        """The device's own code over a graph."""
        import onnx

        onnx.save(graph, self.path)
        session = open_session(self.path)
        inputs, outputs = signature(session)
        loaded, context = self.job.loaded, self.job.context
        manifest = Manifest(
            task=loaded.task,
            labels=loaded.template.labels,
            verbalizer=dict(loaded.template.verbalizer),
            template=loaded.template.text,
            max_length=loaded.max_length,
            pad_token_id=loaded.pad_token_id,
            prefix_ids=self.prefix,
            precision=precision,
            inputs=inputs,
            outputs=outputs,
            parity={},
            provenance={},
            samples=(),
            language_model=None if context is None else context.facts.fingerprint,
            form=loaded.template.form,
        )
        return Predictor(manifest, loaded.tokenizer, session, context)

    def feeds(self, encoded: Sequence[Encoded], names: Collection[str]) -> list[Feed]:
        """Batches of prompts as a graph with the inputs `names` takes them."""
        whole = [one for one in encoded if len(one.ids) > len(self.prefix)]
        feeds = make_feeds(whole, self.job.loaded.pad_token_id, names=names)
        context = self.job.context
        if context is None:
            return feeds
        return [{**feed, PAST: context.past, HEAD: context.head} for feed in feeds]


def _answers(predictor: Predictor) -> Callable[[Sequence[Fields]], NDArray[np.float32]]:
    """A graph's logits, whatever they are: the gate counts what is no number."""
    return lambda inputs: predictor.run(predictor.encode(inputs))


def _selective(
    config: ExportConfig, predictor: Predictor, gate: parity.HeldOut
) -> Selective | None:
    """The threshold that was asked for, and what it comes to on the gate; None without one."""
    if config.threshold is None and config.precision_target is None:
        return None
    probabilities = softmax(predictor.logits(gate.fields))
    threshold = config.threshold
    if threshold is None:
        threshold = choose_threshold(probabilities, float(config.precision_target or 0))
    return measure(probabilities, gate.gold, threshold)


def _linear_layers(source: Source) -> int:
    """How many linear layers quantization is about."""
    import onnx_ir as ir

    return len(list(linears(ir.from_proto(source.graph).graph)))


def _exact_logits(
    desk: _Desk,
    graph: onnx.ModelProto,
    gate: parity.HeldOut,
    checkpoint: NDArray[np.float32],
    reporter: Reporter,
) -> NDArray[np.float32]:
    """The fp32 graph's logits on the whole gate, faster than PyTorch's.

    Raises CheckFailed unless they are the checkpoint's on the first examples: no treatment would
    cure a graph that is wrong already.
    """
    full = PRECISIONS[FP32]
    progress = partial(reporter.progress, "full precision")
    logits = answered(_answers(desk.predictor(graph, FP32)), gate.fields, progress)
    seen = len(checkpoint)
    found = parity.compare(logits[:seen], checkpoint, gate.gold[:seen])
    if not parity.passes(found, full, max_flips_pct=100):
        raise CheckFailed(
            f"the fp32 graph differs from the PyTorch checkpoint by "
            f"{found.max_abs_logit_diff:.3g} in its logits ({full.gate_tolerance} is "
            "allowed), so it was not quantized: try --exporter torch"
        )
    return logits


def _first_to_pass(
    made: Iterable[Candidate],
    desk: _Desk,
    precision: Precision,
    gate: parity.HeldOut,
    reference: NDArray[np.float32],
    max_flips_pct: float,
    reporter: Reporter,
) -> Passed:
    tried: list[parity.Trial] = []
    if max_flips_pct > 0:  # of few examples one near tie is over any share, and no evidence
        max_flips_pct = max(max_flips_pct, 100 / len(gate.fields))
    for candidate in made:
        predictor = desk.predictor(candidate.graph, precision.name)
        progress = partial(reporter.progress, f"checking {candidate.treatment}")
        found = parity.judge(_answers(predictor), gate, reference, max_flips_pct, progress)
        tried.append(parity.Trial(candidate.treatment, found, desk.path.stat().st_size))
        passed = parity.passes(found, precision, max_flips_pct)
        reporter.say(
            f"{candidate.treatment} ({candidate.description}): {found.label_flips} of "
            f"{found.examples} labels flipped ({found.flips_pct:.2f}%), "
            f"{'kept' if passed else 'refused'}"
        )
        if passed:
            return Passed(candidate, predictor, found, tried)
    limits = f"at most {max_flips_pct:g}% of labels may flip"
    if precision.gate_tolerance is not None:
        limits += f", and logits may differ by {precision.gate_tolerance}"
    cure = "raise --max-flips, or export with --fp32"
    if precision.name == FP32:
        cure = "try --exporter torch"
    raise CheckFailed(
        f"no {precision.name} export is close enough to the PyTorch checkpoint ({limits}):\n"
        f"{parity.tried_table(tried)}\n{cure}"
    )


def _trim(
    model: PreTrainedModel, loaded: RunFolder, corpus: Path, say: Callable[[str], None]
) -> tuple[RunFolder, dict[str, Any]]:
    """Shrink the model's vocabulary in place; returns the run with the smaller tokenizer."""
    import torch

    from edgecd.export.vocabulary import trim

    inputs = parity.read_corpus(corpus, loaded)
    texts = [text for fields in inputs for text in _texts(loaded.template, fields)]
    small = trim(loaded.tokenizer, texts, keep=[loaded.pad_token_id])
    table = model.get_input_embeddings()
    if small.kept.max() >= table.weight.shape[0]:
        raise InputError("the tokenizer has tokens that the model has no embedding for")
    before = table.weight.shape[0]
    with torch.no_grad():
        table.weight = torch.nn.Parameter(table.weight[torch.from_numpy(small.kept)])
    model.config.pad_token_id = int(np.flatnonzero(small.kept == loaded.pad_token_id)[0])
    say(f"vocabulary: {len(small.kept):,} of {before:,} tokens kept")
    trimmed = replace(loaded, tokenizer=small.tokenizer, pad_token_id=model.config.pad_token_id)
    return trimmed, {"vocabulary": {"kept": len(small.kept), "of": before, "texts": len(inputs)}}


def _texts(template: PromptTemplate, fields: Fields) -> list[str]:
    """What is tokenized of an input, each text on its own."""
    if template.form == "prompt":
        return [template.render(fields)]
    return [text for text in template.segments(fields) if text is not None]


def _made_by(exporter: str) -> dict[str, Any]:
    """What exported, and on what kind of machine."""
    from edgecd.host.machine import describe_machine

    machine = describe_machine()
    return {"exporter": exporter, **{key: machine[key] for key in ("versions", "os", "cpu", "isa")}}
