"""From a language model to a bundle that takes contexts: the same graph, treatments and gate."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.console import SILENT, Reporter
from edgecd.errors import InputError
from edgecd.export import parity
from edgecd.export.config import ExportConfig
from edgecd.export.convert import GRAPH_CHECK_EXAMPLES, Job, finish, need_export
from edgecd.export.run_folder import RunFolder
from edgecd.export.source import Source
from edgecd.formats.context import Context, read_context, refuse_other_model, write_context
from edgecd.formats.manifest import CONTEXT
from edgecd.formats.precision import find_precision
from edgecd.host.folders import refuse_existing
from edgecd.tasks.demonstrations import calibration_inputs
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Task

if TYPE_CHECKING:
    from edgecd.lm.models import LanguageModel
    from edgecd.lm.scorer import Scorer

HELDOUT_EXAMPLES = 1000


def export_language_model(
    model: str,
    task: Task,
    out: Path,
    config: ExportConfig | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
    max_length: int = 256,
) -> dict[str, Any]:
    """Export a language model, frozen as it is, as a bundle at `out`; returns what was done.

    Any context that was made for it can be given to the bundle; `config.context` is the file of the
    one inside (None: a start token, which is zero-shot, for queries of at most `max_length`
    tokens). Held-out examples of `task` after that context are the gate's. Raises InputError for a
    context of another model or task, a family without a fused graph, or a task without labels to
    check on; CheckFailed when no treatment passes.
    """
    config = config or ExportConfig()
    need_export()
    refuse_existing(out, force)
    started = time.perf_counter()
    import torch

    from edgecd.export.graph import refuse_too_large
    from edgecd.lm.licences import stated_licence
    from edgecd.lm.models import load_language_model, pick_device
    from edgecd.lm.past import model_fingerprint
    from edgecd.lm.scorer import make_scorer

    given = config.context
    if given is not None:
        read_context(given)  # what is wrong with it shows at once
    lm = load_language_model(model, pick_device("cpu"), torch.float32)
    refuse_too_large(lm.model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.context.") as work:
        context_file = given or Path(work) / CONTEXT
        if given is None:
            write_context(context_file, _zero_shot(lm, task, max_length), "fp16")
        context = read_context(context_file)  # in as many bits as the device will have it
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
            made={
                "method": "language-model",
                "model": context.facts.model,
                "licences": {"model": stated_licence(model)},
            },
            tokenizer=lm.text_tokenizer,
            after_context=True,
        )
        measured, gate = parity.split(_heldout(task))
        exact = find_precision(config.goal.precision).is_quantized
        seen = gate.first(GRAPH_CHECK_EXAMPLES) if exact else gate
        reporter.say(f"PyTorch on {len(seen.fields)} held-out examples after the context")
        reference = _reference(scorer, context, seen)
        job = Job(loaded, measured, gate, reference, exact, {}, context, context_file)
        sources = [_source(scorer, reporter)]
        del scorer, lm
        return finish(job, sources, out, config, force, reporter, started)


def _zero_shot(lm: LanguageModel, task: Task, max_length: int) -> Context:
    """The context of a start token alone, calibrated on unlabelled inputs of the train split."""
    from edgecd.contexts.compress import calibrated
    from edgecd.lm.models import check_context_fits
    from edgecd.lm.past import make_context, past_array, remember_tokens, start_ids
    from edgecd.lm.scorer import make_scorer

    scorer = make_scorer(lm, task.template)
    inputs = calibration_inputs(read_split(task, "train").examples, (), seed=0)
    ids = start_ids(lm)
    check_context_fits(lm, len(ids), max_length)
    began = time.monotonic()
    past = past_array(remember_tokens(lm, ids))
    took = {"seed": 0, "distiller": None, "compress_s": round(time.monotonic() - began, 3)}
    context = make_context(scorer, past, "none", task.name, max_length, 0, len(ids), **took)
    return calibrated(context, scorer, inputs)


def _source(scorer: Scorer, reporter: Reporter) -> Source:
    from edgecd.export.families import read_stack
    from edgecd.export.graph import write_graph
    from edgecd.lm.fold import fold

    reporter.say(f"writing the fused graph of {scorer.lm.model.config.model_type}")
    stack = read_stack(fold(scorer.lm, scorer.template))
    return Source(write_graph(stack, is_open=True), "fused", (), stack, is_open=True)


def _reference(scorer: Scorer, context: Context, seen: parity.HeldOut) -> NDArray[np.float32]:
    """PyTorch's logits after the context, calibrated as the device's are."""
    from edgecd.lm.past import prefix_of
    from edgecd.lm.prompted import Prompted

    prefix = prefix_of(context.past, scorer.lm)
    logits = Prompted(scorer, context.facts.max_length, prefix=prefix).logits(seen.fields)
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
