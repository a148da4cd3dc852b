"""Runs a bundle: text in, label and probabilities out, with onnxruntime and no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import InputError, first_line
from edgecd.formats.bundle import check_files, read_manifest
from edgecd.formats.context import Context, read_context, refuse_other_model
from edgecd.formats.contract import HEAD, LOGITS, PAST
from edgecd.formats.manifest import CONTEXT, LOADED, MODEL, TOKENIZER, Manifest
from edgecd.formats.precision import PRECISIONS
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.runtime.session import check_signature, graph_inputs, open_session
from edgecd.tasks.batching import batches
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.metrics import finite, shaped
from edgecd.tasks.prompts import value_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer


Input = str | Mapping[str, str]


@dataclass(frozen=True)
class Prediction:
    """The most probable label, every label's probability, and whether the input was shortened.

    `label` is None for an answer that is `unsure`: no probability reaches the threshold.
    """

    label: str | None
    probabilities: dict[str, float]
    shortened: bool
    unsure: bool = False

    def best(self, count: int) -> list[tuple[str, float]]:
        """The most probable labels, each with its probability, the first one first."""
        ranked = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        return ranked[:count]


class Predictor:
    """A loaded bundle; safe to share between threads.

    `context` is for a language model's graph: its task becomes the manifest's. A `threshold` takes
    the place of the manifest's: the probability below which an answer has no label.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        session: InferenceSession,
        context: Context | None = None,
        threshold: float | None = None,
    ) -> None:
        if context is not None:
            manifest = _for_context(manifest, context)
        if threshold is not None:
            manifest = replace(manifest, threshold=threshold)
        check_signature(session, manifest)
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.session = session
        self.template = manifest.prompt
        self.context = context
        self._calibration = np.array(context.facts.calibration if context else (), np.float32)
        self._constants = {} if context is None else {PAST: context.past, HEAD: context.head}

    @classmethod
    def load(
        cls,
        path: str | Path,
        provider: str = "cpu",
        threads: int | None = None,
        context: str | Path | None = None,
        threshold: float | None = None,
    ) -> Predictor:
        """Load a bundle folder, hashes checked; `provider` is `cpu`, `cuda` or `auto`.

        `threads` is the number of threads of one prediction (None: onnxruntime's choice). `context`
        is a context file to take instead of the one in a language model's bundle, `threshold` a
        probability from 0 to 1 instead of the bundle's. Raises InputError for what is not a bundle,
        cannot run here, or does not belong together, CheckFailed for changed files.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"threshold {threshold:g}: must be from 0 to 1")
        folder = Path(path)
        manifest = read_manifest(folder)
        check_files(folder, manifest, LOADED)
        found = None
        if manifest.language_model is not None:
            found = read_context(Path(context) if context else folder / CONTEXT)
        elif context is not None:
            raise InputError(
                f"{folder} is a classifier for the task {manifest.task}, and takes no context: "
                "give the bundle of a language model (edgecd export MODEL --task T)"
            )
        tokenizer = load_tokenizer(folder / TOKENIZER)
        session = open_session(folder / MODEL, provider, threads)
        return cls(manifest, tokenizer, session, found, threshold)

    def with_context(self, context: Context) -> Predictor:
        """The same loaded language model for another task; takes no time."""
        return Predictor(self.manifest, self.tokenizer, self.session, context)

    def with_threshold(self, threshold: float) -> Predictor:
        """The same with another threshold, from 0 to 1; takes no time."""
        return Predictor(self.manifest, self.tokenizer, self.session, self.context, threshold)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits' columns."""
        return self.manifest.labels

    def predict(self, item: Input) -> Prediction:
        """The label of one input: its fields, or plain text when the template has one field."""
        return self.predict_batch([item])[0]

    def predict_batch(self, inputs: Sequence[Input]) -> list[Prediction]:
        """The predictions for any number of inputs, in the same order.

        Raises InputError, naming its place, for an input that lacks a field or is not text.
        """
        encoded = self.encode(inputs)
        threshold = self.manifest.threshold or 0.0
        predictions = []
        for one, row in zip(encoded, softmax(self._numbers(encoded)), strict=True):
            unsure = bool(row.max() < threshold)
            label = None if unsure else self.labels[int(row.argmax())]
            shares = dict(zip(self.labels, row.tolist(), strict=True))
            predictions.append(Prediction(label, shares, one.shortened, unsure))
        return predictions

    def logits(self, inputs: Sequence[Input]) -> NDArray[np.float32]:
        """Scores of the labels, not normalised, float32 [inputs, labels].

        Raises InputError as `encode` does, when the graph cannot be run, and when it gives what are
        no numbers.
        """
        return self._numbers(self.encode(inputs))

    def fields(self, item: Input) -> dict[str, str]:
        """The template's fields of one input.

        Raises InputError for one that is missing or no text, and where all of them are empty.
        """
        names = self.template.fields
        if isinstance(item, str):
            if len(names) != 1:
                raise InputError(
                    f"the template has the fields {', '.join(names)}: give each by name, "
                    "not one plain text"
                )
            item = {names[0]: item}
        if not isinstance(item, Mapping):
            raise InputError(f"an input is text or named fields, not {type(item).__name__}")
        fields = {name: value_of(item, name) for name in names}
        for name, text in fields.items():
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise InputError(f"field {name!r} is not valid Unicode text")
        if not any(text.strip() for text in fields.values()):
            raise InputError("the input is empty: there is nothing to classify")
        return fields

    def encode(self, inputs: Sequence[Input]) -> list[Encoded]:
        """Token ids of the whole prompts; InputError names the place of an input that is wrong."""
        if isinstance(inputs, str | Mapping):
            raise InputError("expected a list of inputs, not a single one")
        encoded = []
        for place, item in enumerate(inputs):
            try:
                encoded.append(
                    encode_prompt(
                        self.tokenizer,
                        self.template,
                        self.fields(item),
                        self.manifest.max_length,
                        after_context=self.context is not None,
                    )
                )
            except InputError as bad:
                raise InputError(f"input {place}: {bad}" if len(inputs) > 1 else str(bad)) from None
        return encoded

    def run(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        """Scores of encoded prompts, float32 [prompts, labels]; batched by similar length.

        Those after a calibrated context are without each label's usual head start. They may be no
        numbers, where the graph is wrong. Raises InputError for other shapes.

        An answer does not depend on what else is in the list, but for fp32's rounding.
        """
        logits = np.zeros((len(encoded), len(self.labels)), np.float32)
        for one in encoded:
            self._check(one.ids)
        manifest = self.manifest
        rows = PRECISIONS[manifest.precision].batch_rows
        for places in batches([len(one.ids) for one in encoded], rows):
            some = [encoded[place] for place in places]
            feed = graph_inputs(some, manifest.pad_token_id, manifest.inputs)
            try:
                (scores,) = self.session.run([LOGITS], {**feed, **self._constants})
            except Exception as bad:  # onnxruntime's own exceptions share no base class
                raise InputError(f"onnxruntime cannot run the graph: {first_line(bad)}") from None
            logits[places] = shaped(scores, len(places), len(self.labels), "the bundle's graph")
        return logits - self._calibration if self._calibration.size else logits

    def _numbers(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        return finite(
            self.run(encoded), "the bundle's graph", "export the run again, or with --fp32"
        )

    def _check(self, ids: list[int]) -> None:
        """InputError unless a prompt begins as the graph takes for granted, and goes on."""
        prefix = self.manifest.prefix_ids
        if tuple(ids[: len(prefix)]) != prefix:
            raise InputError(
                f"a prompt starts with the tokens {ids[: len(prefix)]}, not with the bundle's "
                f"prefix {list(prefix)}: its tokenizer.json and manifest.json do not belong "
                "together; export the run again"
            )
        if len(ids) == len(prefix):
            raise InputError("the input is empty: there is nothing to classify")


def _for_context(manifest: Manifest, context: Context) -> Manifest:
    """The manifest with a context's task; InputError when the two do not belong together."""
    facts = context.facts
    refuse_other_model(facts, str(manifest.language_model), str(manifest.provenance.get("model")))
    for name, array in ((PAST, context.past), (HEAD, context.head)):
        shape = manifest.inputs[name].shape if name in manifest.inputs else ()
        fits = len(shape) == array.ndim and all(
            isinstance(size, str) or size == found
            for size, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise InputError(
                f"the context's {name} is {list(array.shape)}, and the graph takes {list(shape)}: "
                "compress the demonstrations for this model"
            )
    return replace(
        manifest,
        task=facts.task,
        labels=facts.labels,
        verbalizer=facts.verbalizer,
        template=facts.template,
        max_length=facts.max_length,
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of each row of logits, float64 [inputs, labels]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-1e38))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
