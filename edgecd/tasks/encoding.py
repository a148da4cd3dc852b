"""Text to token ids: one function for teacher, student and device, so that they cannot differ.

Works on a `tokenizers.Tokenizer` alone. Transformers' fast tokenizers carry one inside
(`backend_tokenizer`), which is also what `tokenizer.json` of a bundle is saved from. Whatever a
text holds, it is encoded as text (see `control`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError, native_failure
from edgecd.tasks.control import control_tokens, still_as_text
from edgecd.tasks.prompts import SEPARATOR, PromptTemplate, parse, value_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Of a field, so many characters are tokenized for each token that fits, and this many at least:
# far more than tokens have, so that what is behind them could not have fitted.
CHARACTERS_PER_TOKEN, CHARACTERS = 32, 8_192


@dataclass(frozen=True)
class Encoded:
    """Token ids of one input, and whether a field had to be shortened to fit.

    `type_ids` tells an encoder's texts apart, 0 and 1, one for each token; None of a prompt.
    """

    ids: list[int]
    shortened: bool
    type_ids: list[int] | None = None


def token_ids(tokenizer: Tokenizer, text: str, special: bool) -> list[int]:
    """Token ids of `text`; `special` adds what the tokenizer puts in front (OPT's `</s>`)."""
    ids: list[int] = _encoding(tokenizer, text, special=special).ids
    return ids


def encode_prompt(
    tokenizer: Tokenizer,
    template: PromptTemplate,
    fields: Mapping[str, str],
    max_length: int,
    after_context: bool = False,
) -> Encoded:
    """Encode one input in the template's form, shortening its longest fields until it fits.

    Fields are cut at their ends, and those of more than `most_characters` before they are encoded.
    `after_context` is for a query that continues demonstrations: it
    starts with their separator and has no start token. The pattern itself is never cut: the label's
    word must still follow its tail. Raises InputError when a field is missing, or when what stands
    around the fields is over `max_length` tokens.
    """

    def encode(values: Mapping[str, str]) -> Encoded:
        if template.form != "prompt":
            return _segments(tokenizer, template, values)
        before = SEPARATOR if after_context else ""
        text = before + template.render(values)
        return Encoded(token_ids(tokenizer, text, special=not after_context), False)

    most = most_characters(max_length)
    whole = {name: value_of(fields, name) for name in template.fields}
    fields = {name: text[:most] for name, text in whole.items()}
    found = encode(fields)
    if len(found.ids) <= max_length:
        return found if fields == whole else replace(found, shortened=True)
    spans = {name: _encoding(tokenizer, fields[name]).offsets for name in template.fields}
    lengths = [len(spans[name]) for name in template.fields]
    level = _level(lengths, max_length - (len(found.ids) - sum(lengths)))
    while level >= 0:
        cut = {
            name: fields[name][: spans[name][level - 1][1] if level else 0]
            if len(spans[name]) > level
            else fields[name]
            for name in template.fields
        }
        found = encode(cut)
        if len(found.ids) <= max_length:
            return replace(found, shortened=True)
        level -= 1  # tokens merge differently at the cut; rarely more than once
    raise InputError(
        f"the template alone has {len(found.ids)} tokens, more than max_length {max_length}: "
        "raise --max-length or shorten the template"
    )


def _segments(tokenizer: Tokenizer, template: PromptTemplate, fields: Mapping[str, str]) -> Encoded:
    """What an encoder reads, with its own special tokens."""
    first, second = template.segments(fields)
    found = _encoding(tokenizer, first, second, special=True)
    return Encoded(found.ids, False, found.type_ids)


def _encoding(
    tokenizer: Tokenizer, text: str, pair: str | None = None, special: bool = False
) -> Any:
    """What the tokenizer makes of a text, or of a pair; InputError where it fails."""
    try:
        return still_as_text(tokenizer).encode(text, pair, add_special_tokens=special)
    except BaseException as bad:
        raise native_failure(bad, "the tokenizer cannot encode a text") from None


def most_characters(tokens: int) -> int:
    """How many characters of one text are looked at where so many tokens are taken."""
    return max(CHARACTERS, CHARACTERS_PER_TOKEN * tokens)


def demonstration_ids(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> list[int]:
    """Token ids of as many demonstrations, each with its answer, as fit into `limit`.

    The first ones first; a single one that is too long is cut. Empty when there are none.
    """
    texts = [text[: most_characters(limit)] for text in texts]
    count = len(texts)
    while count:
        ids = token_ids(tokenizer, SEPARATOR.join(texts[:count]), special=True)
        if len(ids) <= limit or count == 1:
            return ids[:limit]
        # Usually one step: demonstrations are of like lengths
        count = max(1, min(count - 1, count * limit // len(ids)))
    return []


def added_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The token ids that the tokenizer puts before and after every text."""
    plain = token_ids(tokenizer, "x", special=False)
    whole = token_ids(tokenizer, "x", special=True)
    at = whole.index(plain[0])
    return whole[:at], whole[at + len(plain) :]


# What may follow a template's head: letters, digits, marks, other scripts, more white space.
_FOLLOWING = (" x", " X", " 1", " .", " '", " \u00e9", " \u7684", "  ", " \n", " \t x", " ")


def constant_prefix(tokenizer: Tokenizer, template: PromptTemplate) -> list[int]:
    """The token ids that every prompt of this template starts with, whatever its fields hold.

    The tokenizer's own start tokens, and the template's head up to its last word that a space
    follows: tokenizers split there (which is checked on what may come next).
    """
    lead, _ = added_tokens(tokenizer)
    literal, _ = parse(template.text)[0]
    found = re.match(r".*\S(?= )", literal, re.DOTALL)
    if found is None:
        return lead
    head = found[0]
    tokens = [*lead, *token_ids(tokenizer, head, special=False)]
    prompts = (token_ids(tokenizer, head + rest, special=True) for rest in _FOLLOWING)
    return tokens if all(ids[: len(tokens)] == tokens for ids in prompts) else lead


def _level(lengths: Sequence[int], budget: int) -> int:
    """The largest level at which sum(min(length, level)) fits into the budget (0 if none)."""
    low, high = 0, max(lengths)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(length, middle) for length in lengths) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def label_token_ids(
    tokenizer: Tokenizer, template: PromptTemplate, model_name: str
) -> dict[str, int]:
    """The one token that each label's word becomes right after the pattern.

    Checked where it matters, behind the template's tail: `" True"` and `"True"` are different
    tokens. Raises InputError, showing the tokens, when a word is split, merges with the tail,
    or shares its token with another label, and for a control token in template or word.
    """
    tokens: dict[str, int] = {}
    _refuse_control(tokenizer, template, model_name)
    for label, word in template.verbalizer.items():
        own = word_tokens(tokenizer, template.tail, word)
        if len(own) != 1:
            after = token_ids(tokenizer, "x" + template.tail + word, special=False)
            split = [tokenizer.id_to_token(token) for token in after[-6:]]
            raise InputError(
                f"label {label!r}: its word {word!r} is not one token of its own after "
                f"{template.tail!r} for {model_name} (the text ends in the tokens {split}): choose "
                "another word in [labels]; most models want a leading space"
            )
        tokens[label] = own[0]
    for label, token in tokens.items():
        other = next(name for name, same in tokens.items() if same == token)
        if other != label:
            raise InputError(
                f"labels {other!r} and {label!r} share the token {tokenizer.id_to_token(token)!r} "
                f"for {model_name}: choose another word for one of them"
            )
    return tokens


def word_tokens(tokenizer: Tokenizer, tail: str, word: str) -> list[int]:
    """The tokens that a word adds to a text that ends in `tail`; none where the two merge."""
    before = token_ids(tokenizer, "x" + tail, special=False)
    after = token_ids(tokenizer, "x" + tail + word, special=False)
    return after[len(before) :] if after[: len(before)] == before else []


def _refuse_control(tokenizer: Tokenizer, template: PromptTemplate, model_name: str) -> None:
    said = (template.text, *template.verbalizer.values())
    for token in control_tokens(tokenizer).values():
        if len(token) > 1 and any(token in text for text in said):
            raise InputError(
                f"the template or a label's word has {token!r}, a control token of {model_name}: "
                "prompts are encoded as plain text, so it would not be read as one; take it out"
            )
