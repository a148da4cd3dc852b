"""The process that makes prompts' graphs (`python -m`, with a SPEC and a RESULT file).

A student on onnxruntime must not win because its rival ran on a slower engine. So the language
model gets the label head, and the student's graph, recipe and gate: the same candidates of the
precision in the same order, of which the first is kept whose labels are PyTorch's on inputs that no
activation statistics were made on. Where none is, the one that flips fewest labels stands for the
prompt, whose row shows its own accuracy. Demonstrations are input where the prompt is read anew for
each query, and constant keys and values where it is cached.

The gate asks few queries, GATE_QUERIES at most, as each is read after all demonstrations; its limit
is rounded up to whole ones, so that a prompt is not refused for want of queries. What is asked is
the cached form, which is quick; a prompt that is read anew has the same tokens and weights, takes
its answers from there in the report, and gets the same treatment.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from edgecd.bench.systems.onnx_prompt import PROMPT, PromptFile, write_prompt_file
from edgecd.console import SILENT
from edgecd.errors import InputError
from edgecd.export import parity
from edgecd.export.activations import make_feeds
from edgecd.export.families import read_pasts, read_stack
from edgecd.export.graph import refuse_too_large, replace_past, write_graph
from edgecd.export.recipes import RECIPES, Candidate
from edgecd.export.source import Source
from edgecd.export.stack import with_pasts
from edgecd.files import write_text
from edgecd.formats.contract import INPUTS, LOGITS
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.formats.precision import Precision, find_precision
from edgecd.host.folders import whole_folder
from edgecd.host.processes import end_with_parent, run_spec
from edgecd.lm.fold import fold
from edgecd.lm.models import LanguageModel, check_context_fits, load_language_model
from edgecd.lm.prompted import Prompted
from edgecd.lm.scorer import make_scorer, read_prefix
from edgecd.runtime.session import open_session
from edgecd.tasks.answerer import Fields
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import Encoded, added_tokens, encode_prompt
from edgecd.tasks.prompts import PromptTemplate

# The first tokens of a text draw activations that 8 bits cannot hold. A student has them as
# constants (see `training.student.add_start`), so a prompt read anew has its first ones, too.
START_TOKENS = 4
ACTIVATION_TEXTS = 32
GATE_QUERIES = 128
FEED_ROWS = 2  # every layer's input is kept for a batch, and contexts are long

Ids = tuple[int, ...]


@dataclass(frozen=True)
class _Prompt:
    """A system: the tokens of its demonstrations, and the first ones that its graph holds."""

    name: str
    context: Ids
    prefix: Ids


@dataclass(frozen=True)
class _Work:
    """What all prompts of one language model have in common, its weights apart.

    `prefixes` are those that a candidate can hold, [prefix] as its `pasts`; `reference` has
    PyTorch's logits on the gate for each context.
    """

    template: PromptTemplate
    tokenizer: Tokenizer
    max_length: int
    precision: Precision
    parameters: int
    prefixes: tuple[Ids, ...]
    gate: parity.HeldOut
    reference: Mapping[Ids, NDArray[np.float32]]


@dataclass(frozen=True)
class _GraphAnswerer:
    """A graph in a session, asked one query at a time after the same context."""

    session: InferenceSession
    work: _Work
    context: Ids

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits' columns."""
        return self.work.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The queries' tokens, without the context's."""
        work, after = self.work, bool(self.context)
        return [
            encode_prompt(work.tokenizer, work.template, fields, work.max_length, after)
            for fields in inputs
        ]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """float32 [inputs, labels]."""
        rows = []
        for query in self.encode(inputs):
            tokens = np.array([[*self.context, *query.ids]], np.int64)
            feed = dict(zip(INPUTS, (tokens, np.ones_like(tokens)), strict=True))
            rows.append(self.session.run([LOGITS], feed)[0][0])
        return np.array(rows, np.float32)


def make_prompt_models(spec: Mapping[str, Any]) -> dict[str, str | None]:
    """Write a folder for each prompt of one language model; name -> why it was left out, or None.

    `spec`: `model`, `precision`, `template`, `verbalizer`, `max_length`, `calibration` (inputs
    without labels), `folder`, and `systems`: name -> {`shots`: demonstrations, `cached`}, all with
    demonstrations or none. Left out are a prompt that does not fit into the model, one whose graph
    is wrong in full precision, and a model without a fused graph. Where no rounding passes the
    gate, the one that flips fewest labels stands for the prompt: its row shows its own accuracy.
    """
    template = PromptTemplate(spec["template"], spec["verbalizer"])
    lm = load_language_model(spec["model"], torch.device("cpu"), torch.float32)
    prompts, left_out = _choose(lm, template, spec["systems"], spec["max_length"])
    if not prompts:
        return left_out
    try:
        sources, work, feeds = _prepare(lm, template, prompts, spec)
    except InputError as bad:
        return {name: why or str(bad) for name, why in left_out.items()}
    del lm  # every copy of the weights counts
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    waiting = list(dict.fromkeys(prompt.context for prompt in prompts))
    tried: dict[Ids, list[parity.Trial]] = {context: [] for context in waiting}
    made = RECIPES[work.precision.name].make(sources.pop(), feeds, 8, SILENT)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".gate.") as place:
        for candidate in made:
            for context in list(waiting):
                passed = _passes(candidate, context, work, Path(place) / MODEL, tried[context])
                if passed:
                    waiting.remove(context)
                if passed or _is_nearest(work, tried[context]):
                    for prompt in (one for one in prompts if one.context == context):
                        _write(folder / prompt.name, candidate, prompt, work, tried[context])
            if not waiting:
                break
    for prompt in prompts:
        if prompt.context in waiting and not work.precision.is_quantized:
            left_out[prompt.name] = _refusal(work, tried[prompt.context])
    return left_out


def _choose(
    lm: LanguageModel,
    template: PromptTemplate,
    systems: Mapping[str, Mapping[str, Any]],
    max_length: int,
) -> tuple[list[_Prompt], dict[str, str | None]]:
    """The prompts that fit into the model, and for each system why it was left out, or None."""
    lead = tuple(added_tokens(lm.text_tokenizer)[0])
    prompts, left_out = [], dict[str, str | None]()
    for name, system in systems.items():
        shown = Demonstrations.of(system["shots"])
        context = tuple(shown.ids(lm.text_tokenizer, template))
        left_out[name] = None
        try:
            check_context_fits(lm, len(context), max_length)
            prefix = context if system["cached"] else context[:START_TOKENS]
            prompts.append(_Prompt(name, context, prefix or lead))
        except InputError as bad:
            left_out[name] = str(bad)
    return prompts, left_out


def _prepare(
    lm: LanguageModel,
    template: PromptTemplate,
    prompts: Sequence[_Prompt],
    spec: Mapping[str, Any],
) -> tuple[list[Source], _Work, list[Any]]:
    """The graph of the longest context, alone in its list, and what it is treated and judged by.

    Queries after that context are what activations are measured on, for all prompts. Raises
    InputError for a model without a fused graph, and where activations have nothing to be measured
    on.
    """
    precision = find_precision(spec["precision"])
    model = fold(lm, template)
    refuse_too_large(model)
    stack = read_stack(model)
    measured, gate = _split(spec["calibration"])
    if precision.is_quantized and not measured:
        raise InputError(
            f"its {precision.name} graph needs inputs of the train split, and the task has none"
        )
    contexts = sorted({prompt.context for prompt in prompts}, key=len, reverse=True)
    read = [prompt.prefix for prompt in prompts]
    prefixes = tuple(dict.fromkeys([*(filter(None, contexts)), *read]))
    pasts = [read_pasts(model, prefix) for prefix in prefixes if prefix]
    tokenizer, longest = lm.text_tokenizer, spec["max_length"]
    reference, scorer = {}, make_scorer(lm, template)
    for context in contexts:
        prefix = read_prefix(scorer, context) if context else None
        reference[context] = Prompted(scorer, longest, prefix=prefix).logits(gate.fields)
    main = contexts[0]
    texts = [[*main, *ids] for ids in _queries(tokenizer, template, measured, longest, main)]
    feeds = make_feeds(
        [Encoded(ids, False) for ids in texts if len(ids) > len(prefixes[0])], 0, FEED_ROWS
    )
    stack = with_pasts(stack, pasts[0]) if pasts else stack
    source = Source(write_graph(stack), "fused", prefixes[0], stack, pasts=pasts)
    parameters = sum(weights.numel() for weights in lm.model.parameters())
    work = _Work(template, tokenizer, longest, precision, parameters, prefixes, gate, reference)
    return [source], work, feeds


def _queries(
    tokenizer: Tokenizer,
    template: PromptTemplate,
    inputs: Sequence[Fields],
    max_length: int,
    context: Ids,
) -> list[list[int]]:
    """The inputs' tokens, to be read after a context, or alone without one."""
    after = bool(context)
    return [encode_prompt(tokenizer, template, one, max_length, after).ids for one in inputs]


def _split(inputs: Sequence[Fields]) -> tuple[list[Fields], parity.HeldOut]:
    """(for activation statistics, for the gate), apart as an export's are."""
    whole = parity.HeldOut(list(inputs), np.full(len(inputs), -1))
    measured, gate = parity.split(whole)
    return measured[:ACTIVATION_TEXTS], gate.first(GATE_QUERIES)


def _limit_pct(work: _Work) -> float:
    """The precision's usual limit, rounded up to whole queries."""
    asked = len(work.gate.fields)
    return 100 * math.ceil(asked * work.precision.max_flips_pct / 100) / asked


def _passes(
    candidate: Candidate, context: Ids, work: _Work, path: Path, tried: list[parity.Trial]
) -> bool:
    """Whether the candidate answers like PyTorch after a context, which joins what was `tried`.

    True where there is nothing to ask. The graph is written to `path`.
    """
    if not work.gate.fields:
        return True
    _hold(candidate, context or work.prefixes[0], work)
    onnx.save(candidate.graph, path)
    answerer = _GraphAnswerer(open_session(path), work, context)
    limit = _limit_pct(work)
    found = parity.judge(answerer.logits, work.gate, work.reference[context], limit)
    tried.append(parity.Trial(candidate.treatment, found, path.stat().st_size))
    return parity.passes(found, work.precision, limit)


def _is_nearest(work: _Work, tried: Sequence[parity.Trial]) -> bool:
    """Whether the last treatment flipped fewer labels than those before; of roundings only."""
    *before, last = [one.parity.label_flips for one in tried]
    return work.precision.is_quantized and last < min(before, default=last + 1)


def _hold(candidate: Candidate, prefix: Ids, work: _Work) -> None:
    """Put a prefix's keys and values into the candidate's graph."""
    if candidate.pasts:
        replace_past(candidate.graph, candidate.pasts[work.prefixes.index(prefix)])


def _write(
    folder: Path, candidate: Candidate, prompt: _Prompt, work: _Work, tried: list[parity.Trial]
) -> None:
    _hold(candidate, prompt.prefix, work)
    described = PromptFile(
        prompt.context,
        len(prompt.prefix),
        work.template.labels,
        work.precision.name,
        work.parameters,
        candidate.treatment,
        _parity(work, tried),
    )
    with whole_folder(folder) as part:
        onnx.save(candidate.graph, part / MODEL)
        write_text(part / TOKENIZER, work.tokenizer.to_str())
        write_prompt_file(part / PROMPT, described)


def _parity(work: _Work, tried: Sequence[parity.Trial]) -> dict[str, Any] | None:
    """What the gate found of the last that was tried, which is kept, and of all, as JSON."""
    if not tried:
        return None
    kept = tried[-1].parity
    return {
        **asdict(kept),
        "flips_pct": round(kept.flips_pct, 3),
        "max_flips_pct": round(_limit_pct(work), 3),
        "tried": [one.to_json() for one in tried],
    }


def _refusal(work: _Work, tried: Sequence[parity.Trial]) -> str:
    asked = len(work.gate.fields)
    found = ", ".join(f"{one.treatment} {one.parity.label_flips}" for one in tried)
    return (
        f"no {work.precision.name} graph of it answers enough like PyTorch: of {asked} labels at "
        f"most {_limit_pct(work) * asked / 100:.0f} may flip, and with each treatment did ({found})"
    )


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run_spec(make_prompt_models, *sys.argv[1:]))
