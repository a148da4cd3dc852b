"""Demonstrations to a context on the device: onnxruntime and tokenizers, no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecd.errors import InputError, first_line
from edgecd.formats.compressor import CompressorFacts, read_facts
from edgecd.formats.context import Context, ContextFacts, checked, with_calibration
from edgecd.formats.contract import HEAD, INPUTS, LABEL_IDS, PAST
from edgecd.formats.manifest import MODEL, TOKENIZER
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.runtime.predictor import Input, Predictor
from edgecd.runtime.session import open_session
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import label_token_ids
from edgecd.tasks.metrics import label_calibration, log_softmax
from edgecd.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer


class Compressor:
    """A loaded compressor folder, which makes contexts of demonstrations; see `load`."""

    def __init__(
        self, facts: CompressorFacts, tokenizer: Tokenizer, session: InferenceSession
    ) -> None:
        self.facts = facts
        self.tokenizer = tokenizer
        self.session = session

    @classmethod
    def load(
        cls, path: str | Path, provider: str = "cpu", threads: int | None = None
    ) -> Compressor:
        """Load a folder that `edgecd export` made of a distiller's run, hashes checked.

        Raises InputError for what is not a compressor or cannot run here, CheckFailed for changed
        files.
        """
        folder = Path(path)
        facts = read_facts(folder)
        tokenizer = load_tokenizer(folder / TOKENIZER)
        return cls(facts, tokenizer, open_session(folder / MODEL, provider, threads))

    def compress(
        self,
        template: PromptTemplate,
        demonstrations: Demonstrations,
        task: str = "task",
        max_length: int = 256,
    ) -> Context:
        """The context of a task's demonstrations, not calibrated (see `calibrated_here`).

        Of more than the compressor was trained to read, the first ones are taken. Raises InputError
        for no demonstrations, an unknown label, or a label's word that is not one token.
        """
        if not demonstrations:
            raise InputError("there are no demonstrations to compress")
        ids = demonstrations.ids(self.tokenizer, template, self.facts.max_context)
        labels = label_token_ids(self.tokenizer, template, self.facts.model)
        feed = {
            INPUTS[0]: np.array([ids], np.int64),
            LABEL_IDS: np.array(list(labels.values()), np.int64),
        }
        try:
            past, head = self.session.run([PAST, HEAD], feed)
        except Exception as bad:  # onnxruntime's own exceptions share no base class
            raise InputError(f"onnxruntime cannot run the graph: {first_line(bad)}") from None
        for name, found in ((PAST, past), (HEAD, head)):
            if not isinstance(found, np.ndarray) or found.dtype != np.float32:
                raise InputError(f"the compressor's graph gives no float32 for {name}")
        facts = ContextFacts(
            method=self.facts.method,
            model=self.facts.model,
            fingerprint=self.facts.fingerprint,
            task=task,
            labels=template.labels,
            verbalizer=dict(template.verbalizer),
            template=template.text,
            max_length=max_length,
            shots=len(demonstrations),
            context_tokens=len(ids),
            provenance={"compressor": self.facts.precision},
        )
        return checked(Context(facts, past, head))


def calibrated_here(predictor: Predictor, context: Context, inputs: Sequence[Input]) -> Context:
    """The context with each label's mean log-probability over unlabelled inputs to be taken off."""
    plain = predictor.with_context(with_calibration(context, np.zeros(0)))
    return with_calibration(context, label_calibration(log_softmax(plain.logits(inputs))))
