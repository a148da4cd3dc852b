"""Episodes to train on, each a function of the seed and its number alone."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.contexts.language import Continuation
from edgecd.contexts.loss import Episode
from edgecd.errors import InputError
from edgecd.files import read_text
from edgecd.tasks.encoding import demonstration_ids, token_ids
from edgecd.tasks.partition import MetaTask, Pool, TextExample
from edgecd.tasks.prompts import SEPARATOR
from edgecd.tasks.readers import read_rows

HEAD_SHARE = 0.8  # of a passage stands for demonstrations (arXiv 2403.06914, 3.3)
MIN_PASSAGE = 40  # tokens
_WORD = re.compile(" [a-z]{3,}")


class TaskEpisodes:
    """Demonstrations and queries of one task each time, drawn from its training pool.

    In a share `symbols` of the episodes the labels are words drawn at random, the same for
    demonstrations and queries, so that they can be known from the demonstrations alone (symbol
    tuning, https://arxiv.org/abs/2305.08298). Tasks whose options differ by input keep theirs.
    """

    def __init__(
        self,
        tasks: Sequence[MetaTask],
        tokenizer: Any,
        shots: int,
        queries: int,
        max_context: int,
        max_query: int,
        seed: int,
        symbols: float = 0.0,
    ) -> None:
        self._tasks, self._tokenizer, self._seed = tasks, tokenizer, seed
        self._symbols, self._words = symbols, one_token_words(tokenizer) if symbols else []
        self._shots, self._queries = shots, queries
        self._max_context, self._max_query = max_context, max_query
        self._pools: dict[str, Pool] = {}

    def __call__(self, number: int) -> Episode:
        """Episode `number`; InputError when a task has too few examples."""
        chance = random.Random(f"edgecd episode {self._seed} {number}")
        task = chance.choice(self._tasks)
        if task.name not in self._pools:
            self._pools[task.name] = task.pool(0)
        pool = self._pools[task.name]
        needed = self._shots + self._queries
        if len(pool.train) < needed:
            raise InputError(
                f"task {task.name} has {len(pool.train)} training examples, and {needed} are "
                "needed: lower shots or queries"
            )
        drawn = chance.sample(pool.train, needed)
        if self._words and chance.random() < self._symbols:
            drawn = _renamed(drawn, self._words, chance)
        texts = [pair.text for pair in drawn[: self._shots]]
        queries = drawn[self._shots :]
        return Episode(
            tuple(demonstration_ids(self._tokenizer, texts, self._max_context)),
            tuple(query_ids(self._tokenizer, pair, self._max_query) for pair in queries),
        )


def one_token_words(tokenizer: Any) -> list[str]:
    """Words of small letters that are one token after a space, with that space, in order."""
    ids = range(tokenizer.get_vocab_size())
    words = (tokenizer.decode([token]) for token in ids)
    return [word for word in words if _WORD.fullmatch(word)]


def _renamed(
    pairs: Sequence[TextExample], words: Sequence[str], chance: random.Random
) -> list[TextExample]:
    """The pairs with other words for their options, where all have the same options."""
    options = pairs[0].options
    if not options or any(pair.options != options for pair in pairs):
        return list(pairs)
    new = dict(zip(options, chance.sample(words, len(options)), strict=True))
    return [TextExample(pair.prompt, new[pair.answer], tuple(new.values())) for pair in pairs]


class TextEpisodes:
    """A passage each time: its first 80% stands for demonstrations, the rest for the query."""

    def __init__(
        self, passages: Sequence[str], tokenizer: Any, max_context: int, max_query: int, seed: int
    ) -> None:
        self._passages, self._tokenizer, self._seed = passages, tokenizer, seed
        self._longest = max_context + max_query
        self._max_query = max_query

    def __call__(self, number: int) -> Episode:
        """Episode `number`; InputError when no passage is long enough."""
        chance = random.Random(f"edgecd passage {self._seed} {number}")
        for _ in range(1000):
            ids = token_ids(self._tokenizer, chance.choice(self._passages), special=False)
            if len(ids) < MIN_PASSAGE:
                continue
            start = chance.randrange(max(1, len(ids) - self._longest + 1))
            ids = ids[start : start + self._longest]
            head = round(len(ids) * HEAD_SHARE)
            rest = ids[head : head + self._max_query]
            return Episode(tuple(ids[:head]), (Continuation(tuple(rest), len(rest) - 1),))
        raise InputError(f"the corpus has no passages of {MIN_PASSAGE} tokens: give longer texts")


def query_ids(tokenizer: Any, pair: TextExample, limit: int) -> Continuation:
    """A query that continues demonstrations, with its answer; a long one loses its beginning."""
    answer = token_ids(tokenizer, pair.answer, special=False)
    prompt = token_ids(tokenizer, SEPARATOR + pair.prompt, special=False)
    return Continuation((*prompt[-max(1, limit - len(answer)) :], *answer), len(answer))


def read_passages(corpus: str, column: str = "text") -> list[str]:
    """Texts of a file (.txt: paragraphs between blank lines; else its `text` column).

    A name that is no file is a data set of the hub, as NAME or NAME:CONFIG:SPLIT. Raises
    InputError for a file without texts.
    """
    path = Path(corpus).expanduser()
    if path.suffix == ".txt" and path.is_file():
        blocks = read_text(path).split("\n\n")
        passages = [block.strip() for block in blocks if block.strip()]
    else:
        name, _, rest = corpus.partition(":")
        config, _, split = rest.partition(":")
        rows = (
            read_rows(str(path))
            if path.suffix
            else read_rows(split or "validation", name, config or None)
        )
        passages = [_text_of(row.values, column, row.where) for row in rows]
    if not passages:
        raise InputError(f"{corpus}: no texts")
    return passages


def _text_of(values: Mapping[str, Any], column: str, where: str) -> str:
    text = values.get(column)
    if not isinstance(text, str):
        raise InputError(f"{where}: no text in the column {column!r}")
    return text
