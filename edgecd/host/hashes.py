"""Hashes of large files, computed once: kept in the user's cache by what the system says of a file.

For noticing that a file is another one, not for proving where it is from.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, require
from edgecd.files import read_json, write_json

KNOWN = "hashes.json"
MOST_KNOWN = 2_000
_CHUNK = 1 << 22
_SMALL = 1 << 20  # read at once
# A file may change again within the clock's grain without showing it.
_SETTLED_S = 2.0


def cache_folder() -> Path:
    """Where edgecd keeps what it can make again: $EDGECD_CACHE, or in the user's cache."""
    given = os.environ.get("EDGECD_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "edgecd"


def file_hash(path: Path) -> str:
    """A hash (XXH3, 128 bits) over every byte of a file.

    Read from the cache where size, time, inode and device are those of last time.
    """
    where = str(path.resolve())
    said = _said_of(path)
    known = _known()
    if where in known and known[where][:-1] == said:
        return str(known[where][-1])
    digest = require("xxhash", "train").xxh3_128()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    found = str(digest.hexdigest())
    if said[0] > _SMALL and _said_of(path) == said and time.time_ns() - said[1] > _SETTLED_S * 1e9:
        _remember(where, [*said, found])
    return found


def _said_of(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev]


def _known() -> dict[str, Any]:
    try:
        known = read_json(cache_folder() / KNOWN)
    except (InputError, OSError):  # absent, or damaged: it is made anew
        return {}
    return (
        {where: said for where, said in known.items() if isinstance(said, list) and said}
        if isinstance(known, dict)
        else {}
    )


def _remember(where: str, said: list[Any]) -> None:
    known = {**_known(), where: said}
    try:
        write_json(cache_folder() / KNOWN, dict(list(known.items())[-MOST_KNOWN:]))
    except OSError:  # a home that cannot be written costs the time again, no more
        return
