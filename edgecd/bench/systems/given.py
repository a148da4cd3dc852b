"""What a benchmark is given: bundles and contexts, and the models that they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.files import public, read_json
from edgecd.formats.context import ContextFacts
from edgecd.formats.kinds import ENCODERS
from edgecd.formats.manifest import Manifest
from edgecd.host.hub import is_here


@dataclass(frozen=True)
class Bundle:
    """A bundle to measure: its folder, and the manifest, read once."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The name of its row."""
        return self.folder.resolve().name


@dataclass(frozen=True)
class GivenContext:
    """A context file to give to the bundles of language models, and what it says of itself."""

    file: Path
    metadata: ContextFacts


@dataclass(frozen=True)
class Models:
    """The language models behind the baselines; None when nobody knows them.

    `encoder` is the student where it is an encoder, which cannot be prompted. `unfetched` are those
    that bundles alone name, and that are not on this machine: they count as not known.
    """

    teacher: str | None
    student_base: str | None
    encoder: str | None = None
    unfetched: tuple[str, ...] = ()


def form_of(made: Mapping[str, Any]) -> str:
    """What the student of a `run.json` reads of an input."""
    task = made.get("task")
    return str(task.get("form", "prompt")) if isinstance(task, Mapping) else "prompt"


def bundle_of_run(bundles: Sequence[Bundle], made: Mapping[str, Any]) -> Bundle | None:
    """The first bundle that says it was made as the `run.json`, else the first of its form."""
    alike = [one for one in bundles if one.manifest.form == form_of(made)]
    own = (one for one in alike if is_made_as(one.manifest, made))
    return next(own, alike[0] if alike else None)


def is_made_as(manifest: Manifest, made: Mapping[str, Any]) -> bool:
    """Whether a bundle says that it was made as the `run.json`."""
    names = ("student", "method", "adapter", "seed", "fingerprints", "timings_s")
    said = manifest.provenance
    return all(said.get(name) == public(made.get(name)) for name in names)


def known_models(
    bundles: Sequence[Bundle],
    run: Mapping[str, Any] | None,
    teacher: str | None,
    student_base: str | None,
) -> Models:
    """Models as given, else as the `run.json` tells, or the first bundle's provenance.

    Where that student is an encoder, the first bundle of a decoder tells whom to prompt instead.
    What a bundle alone names is not fetched: it may be anybody's.
    """
    told = [(str(one.manifest.form), one.manifest.provenance) for one in bundles]
    if run is not None:
        told.insert(0, (form_of(run), run))
    students = [(form, made.get("student") or made.get("model")) for form, made in told]
    decoder, encoder = (
        next((name for form, name in students if name and (form == "prompt") == prompted), None)
        for prompted in (True, False)
    )
    of_encoder = any(form != "prompt" for form, _ in told)
    if of_encoder and student_base is not None and _is_encoder(student_base):
        student_base, encoder = None, student_base
    found = (teacher or told[0][1].get("teacher"), student_base or decoder, encoder)
    own = run or {}
    named = {teacher, student_base, own.get("teacher"), own.get("student"), own.get("model"), None}
    unfetched = tuple(
        dict.fromkeys(str(one) for one in found if one not in named and not is_here(str(one)))
    )
    known = [None if one in unfetched else one for one in found]
    return Models(known[0], known[1], known[2], unfetched)


def _is_encoder(name: str) -> bool:
    """Whether it is a local folder of an encoder; others are known once they are loaded."""
    path = Path(name).expanduser() / "config.json"
    return path.is_file() and read_json(path).get("model_type") in ENCODERS
