"""What was measured already, on disk: a benchmark that was stopped goes on with what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.errors import InputError
from edgecd.files import read_json, refuse_existing, write_json

SYSTEMS = "systems"


@dataclass(frozen=True)
class Kept:
    """Results of systems by part: `evaluation`, `round-1`, ... in FOLDER/<system>/<part>.json.

    `marks` are the fingerprints of what each system is asked and of the machine.
    """

    folder: Path
    marks: Mapping[str, str]

    def read(self, name: str, part: str) -> dict[str, Any] | None:
        """What was measured, or None; InputError when it was under other conditions."""
        path = self._path(name, part)
        if not path.exists():
            return None
        stored = read_json(path)
        if stored.get("fingerprint") != self.marks[name]:
            raise InputError(
                f"{path} was measured with other options, examples, models or versions: choose "
                "another --out, or pass --force to measure everything anew"
            )
        result: dict[str, Any] = stored["result"]
        return result

    def write(self, name: str, part: str, result: Mapping[str, Any]) -> None:
        """Keep a result, atomically."""
        stored = {"fingerprint": self.marks[name], "result": result}
        write_json(self._path(name, part), stored)

    def check(self) -> None:
        """Raise InputError when anything that is there was measured under other conditions."""
        for name in self.marks:
            for path in sorted((self.folder / name).glob("*.json")):
                self.read(name, path.stem)

    def _path(self, name: str, part: str) -> Path:
        return self.folder / name / f"{part}.json"


def open_kept(out: Path, marks: Mapping[str, str], force: bool) -> Kept:
    """The results in OUT/systems; InputError for an OUT of something else, unless `force`."""
    folder = out / SYSTEMS
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    elif not folder.is_dir():
        refuse_existing(out, force)
    folder.mkdir(parents=True, exist_ok=True)  # from now on OUT is a benchmark's
    kept = Kept(folder, marks)
    kept.check()
    return kept
