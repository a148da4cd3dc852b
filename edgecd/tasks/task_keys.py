"""Checks of what a task file says, one function a key: found here, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from edgecd.errors import InputError, check_keys, shown
from edgecd.tasks.columns import GROUP, IDS, Columns

# What a bundle's manifest can hold.
MAX_NAME, MAX_LABEL, MAX_LABELS, MAX_TEMPLATE = 100, 256, 4_096, 65_536
_NO_NAME = re.compile(r'[/\\<>"|?*\x00-\x1f\x7f]')


def folder_name(name: Any, where: str) -> str:
    """A task's name, which becomes the name of folders; InputError for one that cannot."""
    wrong = None
    if not isinstance(name, str) or not name.strip():
        wrong = "must be a text that is not empty"
    elif len(name.encode()) > MAX_NAME:
        wrong = f"must have at most {MAX_NAME} bytes"
    elif _NO_NAME.search(name) or name != name.strip(" .") or not name.isprintable():
        wrong = 'must have none of / \\ < > " | ? * and no blank or dot at either end'
    if wrong:
        raise InputError(f"{where}: name = {shown(name)}: {wrong}, as folders are named by it")
    return str(name)


def labels_of(table: Any, where: str) -> dict[str, str]:
    """[labels]: label -> its word; InputError for too many, and for one without letters."""
    labels = texts_of(table, f"{where}: [labels]")
    if len(labels) > MAX_LABELS:
        raise InputError(f"{where}: [labels] has {len(labels):,}, and {MAX_LABELS:,} are the most")
    for label, word in labels.items():
        if not label.strip() or len(label) > MAX_LABEL or len(word) > MAX_LABEL:
            raise InputError(
                f"{where}: [labels]: {shown(label)} = {shown(word)}: a label and its word have "
                f"from 1 to {MAX_LABEL} characters"
            )
    return labels


def template_of(text: Any) -> str:
    """The template; InputError for what is no text, or longer than a bundle can hold."""
    if not isinstance(text, str) or len(text) > MAX_TEMPLATE:
        raise InputError(f"template must be a text of at most {MAX_TEMPLATE:,} characters")
    return text


def dropped_labels(names: Any, labels: Mapping[str, str], where: str) -> frozenset[str]:
    """[data] drop: labels whose rows are left out; InputError for one that is the task's."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{where}: [data] drop must be a list of labels, such as ["other"]')
    if both := set(names) & set(labels):
        raise InputError(
            f"{where}: [data] drop names {shown(sorted(both)[0])}, which is in [labels]"
        )
    return frozenset(names)


def columns_of(data: Mapping[str, Any], template_fields: Collection[str], where: str) -> Columns:
    """The columns that [data] names; InputError for a field that the template does not have."""
    fields = texts_of(data.get("fields", {}), f"{where}: [data.fields]")
    check_keys(fields, set(template_fields), f"{where}: [data.fields] (fields of the template)")
    named = {key: data[key] for key in ("label_column", "id_column", "group") if key in data}
    ids: tuple[str, ...] = IDS
    needs = []
    if named.get("id_column") is False:
        ids = ()
        del named["id_column"]
    for key, column in named.items():
        if not isinstance(column, str) or not column:
            cure = ", or false for none" if key == "id_column" else ""
            raise InputError(f"{where}: [data] {key} must be the name of a column{cure}")
    if "id_column" in named:
        ids = (named["id_column"],)
        needs.append(named["id_column"])
    if "group" in named:
        needs.append(named["group"])
    return Columns(
        label=named.get("label_column", "label"),
        fields=fields,
        ids=ids,
        group=named.get("group", GROUP),
        needs=tuple(needs),
    )


def texts_of(table: Any, where: str) -> dict[str, str]:
    """A table of texts; InputError for anything else."""
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise InputError(f"{where} must be a table of strings")
    return dict(table)
