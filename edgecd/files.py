"""Atomic writes, strict reads, and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecd.errors import InputError

_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def work_prefix(path: Path) -> str:
    """How the hidden files and folders begin that become `path`: its name, machine and process."""
    return f".{path.name[:64]}.{_MACHINE}-{os.getpid()}-"


def clear_dead_work(folder: Path) -> None:
    """Delete what processes of this machine that are dead left half written in `folder`."""
    for path in folder.glob(f".*.{_MACHINE}-*-*"):
        owner = path.name.rsplit(f".{_MACHINE}-", 1)[1].split("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=work_prefix(path))
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)  # mkstemp makes private files; outputs are meant to be shared
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Atomic write of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Atomic write of indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is an InputError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as bad:
        raise InputError(f"{path}: not valid JSON ({bad})") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read TOML; a missing or malformed file is an InputError that names it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise InputError(f"{path}: not valid TOML: {bad}") from None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def public(value: Any) -> Any:
    """What may be published of a value: of a path on this machine, its last part."""
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def fingerprint(*parts: Any) -> str:
    """Hex SHA-256 of the parts' canonical JSON: equal exactly when the parts are equal."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def new_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a temporary file that becomes `path` when the block ends well, and vanishes if not.

    An existing `path` is refused without `force`; with it, it is replaced only at the end.
    """
    if path.exists() and (path.is_dir() or not force):
        raise InputError(
            f"{path} already exists: choose another file, or pass --force to replace it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=work_prefix(path))
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
