"""Atomic writes, strict reads, and hashes."""

from __future__ import annotations

import codecs
import hashlib
import json
import mmap
import os
import platform
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecd.errors import InputError

# What a text begins with when it says how it is encoded; the longer ones first.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NEVER_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
_ASCII_LETTERS = re.compile(rb"[A-Za-z]")
_TOML_BYTES = 1 << 20  # far above any task or suite
# Of keys with so many dots tomllib keeps all beginnings: its memory is quadratic in their number.
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')\s*+\.\s*+){32}""")

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


def json_line(value: Any, default: Any = None) -> str:
    """A value as one line of JSON, in which what a terminal would obey is escaped."""
    line = json.dumps(value, ensure_ascii=False, default=default)
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is an InputError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except RecursionError:
        raise InputError(f"{path}: not valid JSON here: nested too deeply") from None
    except ValueError as bad:  # also for a number of thousands of digits
        raise InputError(f"{path}: not valid JSON ({bad})") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read TOML; a missing or malformed file is an InputError that names it."""
    try:
        if path.stat().st_size > _TOML_BYTES:
            raise InputError(f"{path}: over {_TOML_BYTES:,} bytes: too large for a TOML file")
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise InputError(f"{path}:{line}: not valid TOML here: a key of more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path}: not valid TOML here: nested too deeply") from None
    except tomllib.TOMLDecodeError as bad:
        raise InputError(f"{path}: not valid TOML: {bad}") from None
    except ValueError:
        raise InputError(f"{path}: not valid TOML here: a number of thousands of digits") from None


def read_text(path: Path) -> str:
    """A text file's content: UTF-8, or what its byte order mark says.

    Raises InputError, naming the line and the likely encoding, for other bytes.
    """
    with path.open(encoding=encoding_of(path)) as stream:
        try:
            return stream.read()
        except UnicodeError:
            raise not_text(path) from None


def encoding_of(path: Path) -> str:
    """The encoding that a file's byte order mark names; UTF-8 without one."""
    with path.open("rb") as stream:
        head = stream.read(4)
    known = (name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark))
    return next(known, "utf-8")


def not_text(path: Path) -> InputError:
    """What to say of a file that is not in the encoding that `encoding_of` gives: where and why."""
    encoding = encoding_of(path)
    if not encoding.startswith("utf-8"):
        return InputError(
            f"{path}: begins as {encoding.upper()} but is not valid {encoding.upper()}: it is "
            "damaged or cut; save it again as UTF-8"
        )
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as bad:
                rest = line[: 1 << 16] + stream.read(1 << 16)
                return InputError(
                    f"{path}:{number}: byte 0x{line[bad.start]:02x} is not UTF-8: "
                    f"{_likely_encoding(rest, line, bad.start)}"
                )
    return InputError(f"{path}: not valid UTF-8")


def _likely_encoding(sample: bytes, line: bytes, place: int) -> str:
    """What the bytes around `line[place]` look like, and how to save the file again."""
    if b"\0" in sample:
        return "the file is not text, or is UTF-16 without a mark; save it again as UTF-8"
    high = sum(byte >= 0x80 for byte in sample)
    western = high * 2 <= high + len(_ASCII_LETTERS.findall(sample))
    if not western or not _NEVER_CP1252.isdisjoint(sample):
        return (
            "the file has another encoding (by language, for example cp1251, gb18030 or "
            "shift_jis); save it again as UTF-8 (iconv -f ENCODING -t utf-8 FILE > NEW)"
        )
    shown = line[max(0, place - 16) : place + 16].decode("cp1252", errors="replace").strip()
    return (
        "the file is probably cp1252, as Excel and Windows write (it would read "
        f"{shown!r}); save it again as UTF-8 (Excel: Save As, CSV UTF-8; or "
        "iconv -f cp1252 -t utf-8 FILE > NEW)"
    )


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        if not path.stat().st_size:  # nothing to be mapped
            return hashlib.sha256().hexdigest()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return hashlib.sha256(content).hexdigest()


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
