"""Control tokens (`</s>`, `<|im_start|>`, `[SEP]`), which no text can hold.

A tokenizer finds its control tokens in any text, so that a user who writes `<|endoftext|>` ends the
text for the model. Here a text is text, in training, scoring and on the device alike: what is
written in it becomes ordinary tokens. Only the tokenizer's own frame has control tokens.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from edgecd.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NO_CHARACTER = "\ufdd0"
# Written as a mark, whatever the tokenizer says: Qwen's `<tool_call>` is not declared special.
_MARK = re.compile(r"<.+>|\[.+\]", re.DOTALL)


def control_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """The added tokens that no text may become, by id: special ones, and those written as marks.

    Others are pieces of text, such as runs of spaces.
    """
    added = tokenizer.get_added_tokens_decoder()
    return {
        number: token.content
        for number, token in added.items()
        if token.special or _MARK.fullmatch(token.content)
    }


def as_text(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, changed so that every text is encoded whole, and as text.

    Its own truncation and padding go, too. Raises InputError for a tokenizer that goes on reading a
    control token in a text.
    """
    from tokenizers import AddedToken, Regex, pre_tokenizers

    tokenizer.no_truncation()
    tokenizer.no_padding()
    control = control_tokens(tokenizer)
    declared = tokenizer.get_added_tokens_decoder()
    marks = [
        AddedToken(token, normalized=declared[number].normalized, special=True)
        for number, token in control.items()
        if not declared[number].special
    ]
    if marks:
        tokenizer.add_special_tokens(marks)
    tokenizer.encode_special_tokens = True
    # A Unigram model knows `</s>` among its pieces, too, and takes it for the likeliest one. What
    # is cut after its first character can be no piece. Saved files keep it, for other readers.
    if read := _read_as_control(tokenizer, control):
        cuts = "|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in read)
        cut = pre_tokenizers.Split(Regex(cuts), "isolated")
        before = tokenizer.pre_tokenizer
        tokenizer.pre_tokenizer = cut if before is None else pre_tokenizers.Sequence([before, cut])
        if read := _read_as_control(tokenizer, control):
            tokenizer.encode_special_tokens = False
            raise InputError(
                f"the tokenizer reads {read[0]!r} in a text as a control token, whatever it is "
                "told: use a model with another tokenizer"
            )
    return tokenizer


def still_as_text(tokenizer: Tokenizer) -> Tokenizer:
    """The same where it was done before, which costs nothing, unless someone has undone it."""
    return tokenizer if tokenizer.encode_special_tokens else as_text(tokenizer)


def without_control(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that has no control tokens to find, so that whoever reads its file encodes as here.

    It lacks those that are in the model's vocabulary besides. The others have a name that starts
    with a code point which is no character, so that all ids stay. Raises InputError as `as_text`.
    """
    from tokenizers import Tokenizer

    spec = json.loads(as_text(Tokenizer.from_str(tokenizer.to_str())).to_str())
    control, known = control_tokens(tokenizer).values(), tokenizer.get_vocab(False)
    kept = []
    for one in spec["added_tokens"]:
        if one["content"] not in control:
            kept.append(one)
        elif one["content"] not in known:
            kept.append({**one, "content": _NO_CHARACTER + one["content"], "special": True})
    spec["added_tokens"] = kept
    plain = as_text(Tokenizer.from_str(json.dumps(spec)))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    for token, number in plain.get_vocab(with_added_tokens=True).items():
        if ids.get(token.removeprefix(_NO_CHARACTER)) != number:
            raise InputError(
                f"the tokenizer cannot be written: the token {token!r} would have another id "
                f"than {ids.get(token)}; use a model with another tokenizer"
            )
    return plain


def _read_as_control(tokenizer: Tokenizer, control: dict[int, str]) -> list[str]:
    """The control tokens that are found where a text spells them, but for single characters."""
    spelled = {number: token for number, token in control.items() if len(token) > 1}
    read: set[str] = set()
    for token in spelled.values():
        for text in (token, f"x {token} {token}x"):
            found = tokenizer.encode(text, add_special_tokens=False)
            read |= {
                spelled[number]
                for number, (start, end) in zip(found.ids, found.offsets, strict=True)
                # An unknown character becomes a control token, too, and is none in the text
                if number in spelled and spelled[number] in text[start:end]
            }
    return sorted(read)
