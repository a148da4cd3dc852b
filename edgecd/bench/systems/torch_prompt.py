"""In-context learning as a system of the benchmark: naive, with a cached prefix, or zero-shot."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
import transformers

from edgecd.bench.exchange import Spec
from edgecd.bench.systems.base import Demonstration, Loaded, Metadata, SkippedError
from edgecd.lm.footprint import model_disk_bytes
from edgecd.lm.models import (
    Unsupported,
    load_language_model,
    pick_device,
    pick_dtype,
)
from edgecd.lm.prompted import Prompted, prompted
from edgecd.lm.scorer import make_scorer
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.prompts import PromptTemplate

_PRECISION = {torch.float32: "fp32", torch.bfloat16: "bf16"}
_BATCH = {"cpu": 8, "cuda": 32}


def load(spec: Spec, import_ms: float) -> Loaded:
    """The language model of a prompt, and the demonstrations read once where it is `cached`.

    Only the label words' rows of the output head are multiplied, in every mode, so the naive
    row is as fast as the prompt allows. Raises SkippedError when the prompt does not fit.
    """
    torch.set_num_threads(spec.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    started = time.perf_counter()
    device = pick_device(spec.provider)
    lm = load_language_model(spec.system.model, device, pick_dtype(spec.dtype, device))
    scorer = make_scorer(lm, PromptTemplate(spec.template, spec.verbalizer))
    load_ms = (time.perf_counter() - started) * 1e3

    def after(demonstrations: Sequence[Demonstration]) -> Prompted:
        shown = Demonstrations.of(demonstrations)
        try:
            return prompted(scorer, shown, spec.max_length, spec.system.cached, _BATCH[device.type])
        except Unsupported as why:
            raise SkippedError(str(why)) from None

    started = time.perf_counter()
    prompt = after(spec.demonstrations)
    context_ms = (time.perf_counter() - started) * 1e3 if spec.system.cached else None
    return Loaded(
        prompt,
        batch_size=prompt.rows,
        metadata=Metadata(
            runtime="torch",
            runtime_version=torch.__version__,
            provider=device.type,
            precision=_PRECISION[lm.model.dtype],
            parameters=sum(weights.numel() for weights in lm.model.parameters()),
            disk_bytes=model_disk_bytes(lm.name),
            context_tokens=prompt.context_tokens,
            import_ms=import_ms,
            load_ms=load_ms,
            context_ms=context_ms,
        ),
        after=after if spec.demonstrations else None,
    )
