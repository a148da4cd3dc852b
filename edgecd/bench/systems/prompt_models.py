"""The process that makes prompts' graphs (`python -m`, with a SPEC and a RESULT file).

A student on onnxruntime must not win because its rival ran on a slower engine. So the language
model gets the label head, the student's graph, treatment and precision; demonstrations are input
where the prompt is read anew for each query, and constant keys and values where it is cached.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from edgecd.bench.systems.onnx_prompt import PROMPT, PromptFile, write_prompt_file
from edgecd.errors import InputError
from edgecd.export.calibrate import Feed, calibrate, make_feeds
from edgecd.export.graph import refuse_too_large, replace_past, write_graph
from edgecd.export.half import half_graph
from edgecd.export.precondition import smooth, spread
from edgecd.export.quantize import INT4_TREATMENTS, Treatment, quantize
from edgecd.export.stack import Block, Past, Stack, read_pasts, read_stack, with_pasts
from edgecd.files import new_folder, write_text
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.host.processes import end_with_parent, run_spec
from edgecd.lm.fold import fold
from edgecd.lm.models import LanguageModel, check_context_fits, load_language_model
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import added_tokens, encode_prompt
from edgecd.tasks.prompts import PromptTemplate

# The first tokens of a text draw activations that 8 bits cannot hold. A student has them as
# constants (see `training.student.add_start`), so a prompt read anew has its first ones, too.
START_TOKENS = 4
CALIBRATION_TEXTS = 32
FEED_ROWS = 2  # every layer's input is kept for a batch, and contexts are long
_ONE_PASS = Treatment("dynamic", "every input rounded in one 8-bit pass")


def make_prompt_models(spec: Mapping[str, Any]) -> dict[str, str | None]:
    """Write a folder for each prompt of one language model; name -> why it was left out, or None.

    `spec`: `model`, `precision`, `template`, `verbalizer`, `max_length`, `calibration` (inputs),
    `folder`, and `systems`: name -> {`shots`: demonstrations, `cached`}, all with demonstrations or
    none. A prompt that does not fit into the model, or a model without a fused graph, is left out.
    """
    template = PromptTemplate(spec["template"], spec["verbalizer"])
    lm = load_language_model(spec["model"], torch.device("cpu"), torch.float32)
    try:
        model = fold(lm, template)
        refuse_too_large(model)
        stack = read_stack(model)
    except InputError as bad:
        return dict.fromkeys(spec["systems"], str(bad))
    parameters = sum(weights.numel() for weights in lm.model.parameters())
    contexts = {
        name: Demonstrations.of(system["shots"]).ids(lm.text_tokenizer, template)
        for name, system in spec["systems"].items()
    }
    left_out: dict[str, str | None] = {}
    for name, context in contexts.items():
        try:
            check_context_fits(lm, len(context), spec["max_length"])
            left_out[name] = None
        except InputError as bad:
            left_out[name] = str(bad)
    cached = [name for name, system in spec["systems"].items() if system["cached"]]
    # Queries after the longest cached context calibrate, for all.
    to_make = sorted(
        (name for name, why in left_out.items() if why is None),
        key=lambda name: (name not in cached, -len(contexts[name])),
    )
    lead, _ = added_tokens(lm.text_tokenizer)
    prefixes = {
        name: contexts[name] if name in cached else contexts[name][:START_TOKENS] or lead
        for name in to_make
    }
    if not to_make:
        return left_out
    main = to_make[0]
    feeds = _feeds(lm, template, contexts[main], prefixes[main], spec)
    pasts = [read_pasts(model, prefix) for prefix in prefixes.values() if prefix]
    graphs = _graphs(stack, pasts, spec["precision"], feeds)
    for name, graph in zip(to_make, graphs, strict=True):
        with new_folder(Path(spec["folder"]) / name, force=True) as part:
            onnx.save(graph, part / MODEL)
            write_text(part / TOKENIZER, lm.text_tokenizer.to_str())
            described = PromptFile(
                tuple(contexts[name]),
                len(prefixes[name]),
                template.labels,
                spec["precision"],
                parameters,
            )
            write_prompt_file(part / PROMPT, described)
    return left_out


def _graphs(
    stack: Stack, pasts: Sequence[Sequence[Past]], precision: str, feeds: list[Feed]
) -> Iterator[onnx.ModelProto]:
    """The same graph with each prefix's pasts in turn, or once with none where there are none.

    Yields one graph that changes: what it is at each step must be used before the next.
    """
    graph = write_graph(with_pasts(stack, pasts[0]) if pasts else stack)
    if precision == "int8":
        inputs = calibrate(graph, feeds, grams=False)
        del graph  # every copy of the weights counts
        gc.collect()
        if pasts:  # all as one: what rewrites the weights rewrites their keys and values, too
            stack = with_pasts(stack, [_joined(layer) for layer in zip(*pasts, strict=True)])
        rewritten = spread(smooth(stack, inputs))
        if pasts:
            lengths = [past[0].keys.shape[1] for past in pasts]
            pasts = _split([_past(block) for block in rewritten.blocks], lengths)
            rewritten = with_pasts(rewritten, pasts[0])
        del stack
        graph = write_graph(rewritten)
        del rewritten
        gc.collect()  # views of a graph refer to each other
        graph = quantize(graph, _ONE_PASS)
    elif precision == "int4":
        graph = quantize(graph, INT4_TREATMENTS[0])
    elif precision == "fp16":
        graph = half_graph(graph)
    yield graph
    for past in pasts[1:]:
        replace_past(graph, past)
        yield graph


def _joined(pasts: Sequence[Past]) -> Past:
    keys, values = (
        np.concatenate([getattr(past, part) for past in pasts], axis=1)
        for part in ("keys", "values")
    )
    return Past(keys, values)


def _split(pasts: Sequence[Past], lengths: Sequence[int]) -> list[list[Past]]:
    """Joined pasts, one a layer, cut into prefixes of these lengths: [prefix][layer]."""
    ends = np.cumsum(lengths)
    return [
        [
            Past(past.keys[:, end - length : end], past.values[:, end - length : end])
            for past in pasts
        ]
        for end, length in zip(ends, lengths, strict=True)
    ]


def _past(block: Block) -> Past:
    assert block.attention.past is not None
    return block.attention.past


def _feeds(
    lm: LanguageModel,
    template: PromptTemplate,
    context: Sequence[int],
    prefix: Sequence[int],
    spec: Mapping[str, Any],
) -> list[Feed]:
    """Queries after the context, as the graph takes them."""
    prompts = [
        [
            *context,
            *encode_prompt(
                lm.text_tokenizer, template, fields, spec["max_length"], bool(context)
            ).ids,
        ]
        for fields in spec["calibration"][:CALIBRATION_TEXTS]
    ]
    return make_feeds([ids for ids in prompts if len(ids) > len(prefix)], 0, FEED_ROWS)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run_spec(make_prompt_models, *sys.argv[1:]))
