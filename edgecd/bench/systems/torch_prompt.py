"""In-context learning as a system of the benchmark: naive, with a cached prefix, or zero-shot."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from edgecd.bench.exchange import Spec
from edgecd.bench.systems.base import Demonstration, Fields, Loaded, Metadata, SkippedError
from edgecd.errors import InputError
from edgecd.lm.models import (
    LanguageModel,
    check_context_fits,
    load_language_model,
    pick_device,
    pick_dtype,
)
from edgecd.lm.scorer import (
    Prefix,
    Scorer,
    context_ids,
    label_logits,
    make_scorer,
    read_context,
)
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.prompts import PromptTemplate

_PRECISION = {torch.float32: "fp32", torch.bfloat16: "bf16"}
_BATCH = {"cpu": 8, "cuda": 32}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


@dataclass(frozen=True)
class PromptedModel:
    """A language model with demonstrations in its input; see `edgecd.tasks.answerer`.

    Queries come after the tokens `before`, which are read anew for each, and after what was read
    once (`prefix`); `after` tells whether there are demonstrations at all. Only the label words'
    rows of the output head are multiplied.
    """

    scorer: Scorer
    before: tuple[int, ...]
    prefix: Prefix | None
    after: bool
    max_length: int
    batch_size: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.scorer.template.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens that are read for each input: demonstrations, too, unless read once.

        Raises InputError for an input that lacks a field of the template.
        """
        tokenizer, template = self.scorer.lm.text_tokenizer, self.scorer.template
        queries = [
            encode_prompt(tokenizer, template, fields, self.max_length, self.after)
            for fields in inputs
        ]
        return [Encoded([*self.before, *one.ids], one.shortened) for one in queries]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        prompts = [one.ids for one in self.encode(inputs)]
        scores = np.zeros((len(prompts), len(self.labels)), np.float32)
        # Like lengths together, the longest first, so that a lack of memory shows at once.
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            batch = [prompts[place] for place in places]
            scores[places] = label_logits(self.scorer, batch, self.prefix)
        return scores


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

    def after(demonstrations: Sequence[Demonstration]) -> PromptedModel:
        return _prompted(scorer, demonstrations, spec, _BATCH[device.type])

    started = time.perf_counter()
    prompted = after(spec.demonstrations)
    context_ms = (time.perf_counter() - started) * 1e3 if spec.system.cached else None
    return Loaded(
        prompted,
        batch_size=prompted.batch_size,
        metadata=Metadata(
            runtime="torch",
            runtime_version=torch.__version__,
            provider=device.type,
            precision=_PRECISION[lm.model.dtype],
            parameters=sum(weights.numel() for weights in lm.model.parameters()),
            disk_bytes=_disk_bytes(lm),
            context_tokens=prompted.prefix.length if prompted.prefix else len(prompted.before),
            import_ms=import_ms,
            load_ms=load_ms,
            context_ms=context_ms,
        ),
        after=after if spec.demonstrations else None,
    )


def _prompted(
    scorer: Scorer, demonstrations: Sequence[Demonstration], spec: Spec, batch_size: int
) -> PromptedModel:
    """The model after these demonstrations; SkippedError when they do not fit."""
    context = []
    if demonstrations:
        context = context_ids(scorer, scorer.template.render_context(demonstrations))
    try:
        check_context_fits(scorer.lm, len(context), spec.max_length)
    except InputError as bad:
        raise SkippedError(str(bad)) from None
    cached = spec.system.cached
    return PromptedModel(
        scorer,
        () if cached else tuple(context),
        read_context(scorer, context) if cached else None,
        bool(demonstrations),
        spec.max_length,
        batch_size,
    )


def _disk_bytes(lm: LanguageModel) -> int | None:
    """Bytes of the weight files and the tokenizer; None when the hub's cache does not show them."""
    path = Path(lm.name).expanduser()
    if path.is_file():  # a GGUF file holds its tokenizer
        return path.stat().st_size
    folder = path if path.is_dir() else _snapshot(lm.name)
    if folder is None:
        return None
    weights = list(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
    tokenizer = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    return sum(file.stat().st_size for file in (*weights, *tokenizer)) if weights else None


def _snapshot(name: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        return None
