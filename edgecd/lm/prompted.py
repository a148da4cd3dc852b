"""A language model with a prompt, as what answers queries: demonstrations read anew, or once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecd.lm.models import check_context_fits
from edgecd.lm.scorer import Prefix, Scorer, label_logits, read_prefix
from edgecd.tasks.answerer import Fields
from edgecd.tasks.batching import batches
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import Encoded, encode_prompt
from edgecd.tasks.metrics import finite

_ROWS = 8


@dataclass(frozen=True)
class Prompted:
    """A language model that answers after something (an `Answerer`).

    Token ids `before` every query are read with each of them, a `prefix` was read once; without
    either the model is asked zero-shot. A query is shortened to `max_length` tokens, and a batch
    holds `rows` of them.
    """

    scorer: Scorer
    max_length: int
    before: tuple[int, ...] = ()
    prefix: Prefix | None = None
    rows: int = _ROWS

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits' columns."""
        return self.scorer.template.labels

    @property
    def context_tokens(self) -> int:
        """How many positions a query finds in front of it."""
        return len(self.before) if self.prefix is None else self.prefix.length

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens that are read for each input: with demonstrations, where they are read anew.

        Raises InputError for an input that lacks a field of the template.
        """
        tokenizer, template = self.scorer.lm.text_tokenizer, self.scorer.template
        continues = bool(self.before) or self.prefix is not None
        queries = (
            encode_prompt(tokenizer, template, x, self.max_length, continues) for x in inputs
        )
        return [Encoded([*self.before, *one.ids], one.shortened) for one in queries]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """The label words' logits, float32 [inputs, labels]; errors as from `encode`."""
        encoded = self.encode(inputs)
        table = np.zeros((len(encoded), len(self.labels)), np.float32)
        for places, rows in self.run([one.ids for one in encoded]):
            table[places] = rows
        return table

    def run(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield (places, logits [batch, labels]) of encoded prompts as they come.

        Every place comes exactly once; the longest batch comes first, so that a lack of memory
        shows at once. Raises InputError for logits that are no numbers.
        """
        lengths = [len(one) for one in prompts]
        for places in batches(lengths, self.rows, tokens=None, longest_first=True):
            some = [prompts[place] for place in places]
            logits = label_logits(self.scorer, some, self.prefix)
            yield places, finite(logits, self.scorer.lm.name, "use --dtype float32")

    def after(self, demonstrations: Demonstrations) -> Prompted:
        """The same model after other demonstrations, read in the same way; see `prompted`."""
        cached = self.prefix is not None
        return prompted(self.scorer, demonstrations, self.max_length, cached, self.rows)


def prompted(
    scorer: Scorer,
    demonstrations: Demonstrations,
    max_length: int,
    cached: bool = True,
    rows: int = _ROWS,
) -> Prompted:
    """A language model after demonstrations: read once where `cached`, else with each query.

    Without demonstrations it is asked zero-shot. Raises Unsupported when demonstrations and the
    longest query do not fit into the model.
    """
    ids = demonstrations.ids(scorer.lm.text_tokenizer, scorer.template)
    check_context_fits(scorer.lm, len(ids), max_length)
    if cached and ids:
        return Prompted(scorer, max_length, prefix=read_prefix(scorer, ids), rows=rows)
    return Prompted(scorer, max_length, tuple(ids), rows=rows)
