"""Output folders: never half written, and never in place of what edgecd did not write.

Each carries a mark that names what edgecd wrote into it: the hidden file `.edgecd`, or a bundle's
manifest. With --force a folder is replaced only if it has the mark and holds nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgecd.errors import InputError
from edgecd.files import clear_dead_work, work_prefix, write_json

MARK = ".edgecd"
_MARKS = {MARK: "holds", "manifest.json": "files"}  # the file, and the key with the names
LOCK = ".lock"
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


def write_mark(folder: Path, holds: Iterable[str]) -> None:
    """Mark `folder` as one that edgecd writes, with the names of all that it puts there."""
    write_json(folder / MARK, {"holds": sorted(holds)})


def refuse_existing(path: Path, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise InputError when an output folder at `path` would stand in the way of something.

    What is there is refused without `force`. With it, the working directory and its parents,
    whatever holds one of the command's `inputs`, folders without edgecd's mark, and those that
    hold something that edgecd did not write are still refused. An empty folder is no obstacle.
    """
    here = Path.cwd()
    place = path.resolve()
    if place == here or place in here.parents:
        raise InputError(f"{path} is the working directory or above it: choose another folder")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise InputError(
            f"{path} already exists: choose another folder, or pass --force to replace it"
        )
    for given in inputs:
        inside = given.expanduser().resolve()
        if inside == place or place in inside.parents:
            raise InputError(
                f"{path} holds {given}, which this command reads: choose another folder"
            )
    refuse_foreign(path)


def refuse_foreign(path: Path) -> None:
    """Raise InputError unless the folder `path` has edgecd's mark and holds nothing but its own."""
    cure = "choose another folder, or move it away yourself"
    holds = _marked(path)
    if holds is None:
        raise InputError(
            f"{path} was not written by edgecd, so --force does not replace it: {cure}"
        )
    foreign = sorted({entry.name for entry in path.iterdir()} - {*holds, LOCK})
    if foreign:
        shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise InputError(f"{path} holds what edgecd did not write there ({shown}): {cure}")


def _marked(path: Path) -> Sequence[str] | None:
    """What edgecd wrote into `path`, by its mark; None for a folder (or file) without one."""
    for mark, key in _MARKS.items():
        try:
            holds = json.loads((path / mark).read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(holds, list | dict) and all(isinstance(one, str) for one in holds):
            return [mark, *(Path(one).parts[0] for one in holds if one)]
    return None


def claim(path: Path, holds: Sequence[str], force: bool) -> None:
    """Make `path` a folder to work in, and to come back to, for what writes the names `holds`.

    It is new, empty, or was claimed so before. Raises InputError as `refuse_existing`, and for
    another output of edgecd.
    """
    found = _marked(path)
    if found is None:
        refuse_existing(path, force)
        path.mkdir(parents=True, exist_ok=True)
        write_mark(path, holds)
    elif not set(holds) <= set(found):
        raise InputError(f"{path} is the output of another command: choose another folder")
    clear_dead_work(path)


def set_aside(path: Path) -> None:
    """Hide the folder `path`, if it is there, until `forget_aside` deletes it."""
    if path.exists():
        forget_aside(path)
        os.replace(path, _aside(path))


def forget_aside(path: Path) -> None:
    """Delete what was set aside, as `path` is complete."""
    shutil.rmtree(_aside(path), ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


@contextmanager
def new_folder(path: Path, force: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a hidden folder that becomes `path`, marked, when the block ends well.

    It vanishes if not. What is there already is refused as by `refuse_existing`, and goes only when
    the new folder is complete.
    """
    refuse_existing(path, force, inputs)
    with whole_folder(path) as part:
        yield part
        if _marked(part) is None:
            write_mark(part, [entry.name for entry in part.iterdir()])


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder that takes the place of `path`, if any, when the block ends well.

    For folders within edgecd's own outputs, where nobody else writes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_dead_work(path.parent)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=work_prefix(path)))
    try:
        os.chmod(part, 0o755)
        yield part
        put(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def put(part: Path, path: Path) -> None:
    """Move the folder `part` to `path`; what was there is deleted once the new one stands."""
    if not path.exists():
        os.replace(part, path)
        return
    if not _exchange(part, path):
        old = part.with_name(f"{part.name}-old")
        os.replace(path, old)
        os.replace(part, path)
        part = old
    shutil.rmtree(part, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step, so that there is always one of them; False where none can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    here = -100  # AT_FDCWD
    done: int = rename(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE)
    return done == 0
