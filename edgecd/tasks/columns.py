"""Which columns of a row are read, and what may stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecd.errors import InputError, nearest, printable, shown, suggest

IDS = ("id", "idx")  # taken for a row's name where the task names no column for it
GROUP = "heuristic"  # as HANS names it
_LISTED, _LONGEST = 20, 60


@dataclass(frozen=True)
class Columns:
    """The columns that a task reads of its rows.

    `fields` maps a field of the template to its column where the two differ. `ids` are those that
    may hold a row's name, none where its place is its name; `needs` are those that must be there.
    """

    label: str = "label"
    fields: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = IDS
    group: str = GROUP
    needs: tuple[str, ...] = ()

    def texts(self, values: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
        """The template's fields `names` of a row; InputError for one absent, empty or no text."""
        found = {}
        for name in names:
            column = self.fields.get(name, name)
            if column not in values:
                raise InputError(
                    f"no field {column!r}, which the template needs{there(column, values)}: "
                    "correct the template, or map it in [data.fields]"
                )
            found[name] = _text(column, values[column])
        return found

    def name(self, values: Mapping[str, Any], otherwise: str) -> str:
        """A row's own name, or `otherwise`; InputError for what is neither text nor a number."""
        value = next((values[column] for column in self.ids if column in values), None)
        if value is None or value == "" or (isinstance(value, float) and value != value):
            return otherwise
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"the id is {shown(value)}: neither text nor a number")
        return _unicode("the id", str(value))

    def kind(self, values: Mapping[str, Any]) -> str | None:
        """The kind of input that a row is, where the data tell kinds apart."""
        value = values.get(self.group)
        known = isinstance(value, str | int | float)
        return _unicode(f"column {self.group!r}", str(value)[:256]) if known else None


def there(column: str, values: Mapping[str, Any]) -> str:
    """For a message: the columns that a row has, and the one that is most like `column`."""
    known = [printable(str(name)[:_LONGEST]) for name in values]
    listed = ", ".join(known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    return f" (the row has {listed or 'none'}{suggest(column, known)})"


def absent(column: str, values: Mapping[str, Any], is_label: bool) -> str:
    """What to say of rows none of which has a column that is read; `values` are one row's."""
    said = f"no column {column!r} in any row{there(column, values)}"
    if not is_label:
        return f"{said}: correct its name in [data]"
    near = printable(nearest(column, map(str, values)) or "NAME")
    return (
        f"{said}: rename it in the file, or say what it is called in every split with "
        f'label_column = "{near}" in [data]. If nobody knows the labels, add it and leave it '
        "empty, or name the file as unlabelled = ..."
    )


def _text(column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        value = ""
    if not isinstance(value, str):
        raise InputError(f"field {column!r} is not text")
    if not value.strip():
        raise InputError(f"field {column!r} is empty: fill it or drop the row")
    return _unicode(f"field {column!r}", value)


def _unicode(what: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as bad:
        half = f"\\u{ord(text[bad.start]):04x}"
        raise InputError(
            f"{what} is not valid Unicode text: it holds {half}, half of a character"
        ) from None
    return text
