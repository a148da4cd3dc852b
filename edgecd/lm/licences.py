"""The licence that a model states: `license` in the front matter of its README.md."""

from __future__ import annotations

from pathlib import Path

from edgecd.errors import require
from edgecd.host.hub import resolve_model

README = "README.md"
_LARGEST_BYTES = 1 << 20
_LONGEST = 64  # characters


def stated_licence(name: str) -> str | None:
    """What a model's README says, such as `apache-2.0`; None where it says nothing readable.

    `name` is a folder, a `.gguf` file (whose folder may have a README), or a hub id. Raises
    InputError for a hub id that cannot be had.
    """
    readme = _readme(name)
    if readme is None or readme.stat().st_size > _LARGEST_BYTES:
        return None
    from huggingface_hub import metadata_load

    try:
        said = metadata_load(readme) or {}
    except Exception:  # a stranger's YAML; the licence is then as unknown as without one
        return None
    for key in ("license_name", "license"):  # the name belongs to `license: other`
        value = said.get(key)
        if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST:
            return value
    return None


def _readme(name: str) -> Path | None:
    path = Path(name).expanduser()
    if not path.exists():
        source = resolve_model(name)
        if source == name:  # it can be downloaded now
            hub = require("huggingface_hub", "train")
            try:
                return Path(hub.hf_hub_download(name, README))
            except Exception:  # the HTTP library, and so its errors, differ by hub version
                return None
        path = Path(source)
    beside = (path if path.is_dir() else path.parent) / README
    return beside if beside.is_file() else None
