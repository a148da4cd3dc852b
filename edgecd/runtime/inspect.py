"""What a bundle is, how it was made, its figures: read from the manifest, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.formats.bundle import read_manifest
from edgecd.formats.card import flat, reads
from edgecd.formats.manifest import MANIFEST, manifest_json

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROWS = 500
_SAID_ELSEWHERE = ("bundle", "labels", "inputs", "outputs", "fields", "files")


def describe(path: str | Path) -> dict[str, Any]:
    """The facts of a bundle as one JSON object; InputError when it is not a bundle."""
    folder = Path(path)
    manifest = read_manifest(folder)
    facts = manifest_json(manifest)
    samples = facts.pop("samples")
    return {
        "bundle": str(folder),
        **facts,
        "fields": list(manifest.prompt.fields),
        "samples": len(samples),
        "size_bytes": (folder / MANIFEST).stat().st_size + manifest.size_bytes,
    }


def render(description: Mapping[str, Any]) -> Table:
    """A bundle's description as a table for people; nested values get a row each."""
    from rich.table import Table

    from edgecd.console import cell

    rows = Table(title=cell(str(description["bundle"])), show_header=False, title_justify="left")
    rows.add_column(style="bold", overflow="fold")
    rows.add_column(overflow="fold")
    facts = _rows(description)
    for name, value in facts[:MOST_ROWS]:
        rows.add_row(cell(name), cell(value))
    if len(facts) > MOST_ROWS:
        rows.add_row("...", f"{len(facts) - MOST_ROWS:,} more")
    return rows


def _rows(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = dict(description)
    words = facts.pop("verbalizer").items()
    labels = ", ".join(f"{label} = {word!r}" for label, word in words)
    if facts.get("form", "prompt") != "prompt":  # an encoder reads neither words nor template
        labels = ", ".join(facts["labels"])
        facts["reads"] = reads(facts["form"], facts["fields"]).replace("`", "")
        del facts["form"], facts["template"]
    files = {f"file {name}": f"{one['size_bytes']:,} bytes" for name, one in facts["files"].items()}
    shown = {
        "labels": labels,
        "size": f"{facts.pop('size_bytes') / 1e6:.1f} MB",
        **{key: value for key, value in facts.items() if key not in _SAID_ELSEWHERE},
        "parity": {key: value for key, value in facts["parity"].items() if key != "tried"},
        **files,
    }
    return flat(shown)
