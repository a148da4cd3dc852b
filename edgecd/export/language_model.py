"""From a language model to a bundle that takes contexts: the same graph, treatments and gate."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import InputError, require
from edgecd.export import parity
from edgecd.export.candidates import Source
from edgecd.export.convert import GRAPH_CHECK_EXAMPLES, QUANTIZED, Job, finish
from edgecd.export.run_folder import RunFolder
from edgecd.files import refuse_existing
from edgecd.formats.context import Context, read_context, refuse_other_model, write_context
from edgecd.formats.manifest import CONTEXT
from edgecd.tasks.task import Task, read_split

if TYPE_CHECKING:
    from edgecd.lm.scorer import Scorer

HELDOUT_EXAMPLES = 1000
BATCH = 8


def export_language_model(
    model: str,
    task: Task,
    out: Path,
    precision: str = "fp32",
    max_flips_pct: float | None = None,
    context_file: Path | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
    weight_bits: int = 8,
    max_length: int = 256,
) -> dict[str, Any]:
    """Export a language model, frozen as it is, as a bundle at `out`; returns what was done.

    Any context that was made for it can be given to the bundle; `context_file` is the one inside
    (None: a start token, which is zero-shot). Held-out examples of `task` after that context are
    the gate's. Raises InputError for a context of another model or task, a family without a fused
    graph, or a task without labels to check on; CheckFailed when no treatment passes.
    """
    for module, extra in (("onnx", "export"), ("onnx_ir", "export"), ("onnxruntime", "cpu")):
        require(module, extra)
    refuse_existing(out, force)
    started = time.perf_counter()
    import torch

    from edgecd.contexts.compress import compress
    from edgecd.contexts.config import CompressConfig
    from edgecd.export.graph import refuse_too_large
    from edgecd.lm.models import load_language_model, pick_device
    from edgecd.lm.past import model_fingerprint
    from edgecd.lm.scorer import make_scorer

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.context.") as work:
        if context_file is None:
            context_file = Path(work) / CONTEXT
            asked = CompressConfig(task=task.source, model=model, shots=0, max_length=max_length)
            write_context(context_file, compress(asked), "fp16")
        context = read_context(context_file)
        lm = load_language_model(model, pick_device("cpu"), torch.float32)
        refuse_too_large(lm.model)
        refuse_other_model(context.facts, model_fingerprint(lm.model), model)
        if context.facts.labels != task.labels:
            raise InputError(
                f"{context_file} is for the labels {', '.join(context.facts.labels)}, not for "
                f"those of task {task.name} ({', '.join(task.labels)})"
            )
        scorer = make_scorer(lm, context.facts.prompt)
        loaded = RunFolder(
            task=task.name,
            template=context.facts.prompt,
            max_length=context.facts.max_length,
            pad_token_id=0,
            made={"method": "language-model", "model": context.facts.model},
            tokenizer=lm.text_tokenizer,
            after_context=True,
        )
        calibration, gate = parity.split(_heldout(task))
        exact = precision in QUANTIZED
        seen = gate.first(GRAPH_CHECK_EXAMPLES) if exact else gate
        report(f"PyTorch on {len(seen.fields)} held-out examples after the context")
        reference = _reference(scorer, context, seen, loaded)
        job = Job(loaded, calibration, gate, reference, exact, {}, context, context_file)
        sources = [_source(scorer, report)]
        del scorer, lm
        return finish(
            job, sources, out, precision, max_flips_pct, force, report, weight_bits, started
        )


def _source(scorer: Scorer, report: Callable[[str], None]) -> Source:
    from edgecd.export.graph import write_graph
    from edgecd.export.stack import read_stack
    from edgecd.training.student import fold

    report(f"writing the fused graph of {scorer.lm.model.config.model_type}")
    stack = read_stack(fold(scorer.lm, scorer.template))
    return Source(write_graph(stack, is_open=True), "fused", (), stack, is_open=True)


def _reference(
    scorer: Scorer, context: Context, seen: parity.HeldOut, loaded: RunFolder
) -> NDArray[np.float32]:
    """PyTorch's logits after the context, calibrated as the device's are."""
    from edgecd.lm.past import prefix_of
    from edgecd.lm.scorer import label_logits

    prefix = prefix_of(context.past, scorer.lm)
    queries = [one.ids for one in parity.encode(seen.fields, loaded)]
    order = sorted(range(len(queries)), key=lambda place: len(queries[place]))
    logits = np.zeros((len(queries), len(scorer.template.labels)), np.float32)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        logits[places] = label_logits(scorer, [queries[place] for place in places], prefix)
    return logits - np.array(context.facts.calibration or 0, np.float32)


def _heldout(task: Task) -> parity.HeldOut:
    name = next((name for name in ("validation", "test") if name in task.data), None)
    if name is None:
        raise InputError(
            f"task {task.name!r} has neither a validation nor a test split: add one to [data] in "
            f"{task.source}, so that the bundle can be checked"
        )
    examples = read_split(task, name, HELDOUT_EXAMPLES).examples
    gold = [-1 if one.label is None else task.labels.index(one.label) for one in examples]
    if len(examples) < 2:
        raise InputError(f"{name} of task {task.name!r} has one example: the gate needs at least 2")
    return parity.HeldOut([dict(one.fields) for one in examples], np.array(gold))
