"""A simple classifier as a row of the benchmark: trained once, on the labelled examples alone, by
`python -m edgecd.bench.systems.rival SPEC RESULT`, then loaded and asked as a bundle is."""

from __future__ import annotations

import importlib
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals.registry import find, missing_reason
from edgecd.bench.systems.base import Loaded, Metadata, SkippedError
from edgecd.errors import EdgecdError
from edgecd.formats.record import from_json
from edgecd.host.folders import whole_folder
from edgecd.host.processes import end_with_parent, run_spec


def train_rival(asked: Any) -> dict[str, str | None]:
    """Learn what a Lesson in JSON asks, into its folder; returns {"skipped": why or None}."""
    lesson = from_json(Lesson, asked, "lesson")
    try:
        train(lesson)
    except EdgecdError as why:
        return {"skipped": " ".join(str(why).split())}
    return {"skipped": None}


def train(lesson: Lesson) -> None:
    """Train one rival into the lesson's folder, which is new.

    Raises InputError for an unknown name, a model that is no encoder, and examples that nothing can
    be learned from; MissingExtra for a package that is not installed.
    """
    with whole_folder(Path(lesson.folder)) as part:
        _module(lesson.rival).train(lesson, part)


def load(spec: Spec) -> Loaded:
    """A trained rival, ready to answer.

    Of the spec's system: `rival` is its name, `model` the encoder that it started from; `folder` is
    what `train` wrote. Raises SkippedError when what it needs is missing.
    """
    name = str(spec.system.rival)
    started = time.perf_counter()
    module = _module(name)
    try:
        module.imports()
    except ImportError as bad:
        raise SkippedError(missing_reason(name) or str(bad)) from None
    if find(name).sentence_encoder:
        import torch

        torch.set_num_threads(spec.threads)
    imported = time.perf_counter()
    learned = module.load(spec, Path(str(spec.folder)))
    ready = time.perf_counter()
    return Loaded(
        learned.answerer,
        batch_size=learned.rows,
        metadata=Metadata(
            runtime=module.RUNTIME,
            runtime_version=version(module.PACKAGE),
            provider=learned.provider,
            precision=module.PRECISION,
            parameters=learned.parameters,
            disk_bytes=learned.disk_bytes,
            context_tokens=0,
            import_ms=(imported - started) * 1e3,
            load_ms=(ready - imported) * 1e3,
        ),
    )


def _module(name: str) -> ModuleType:
    return importlib.import_module(find(name).path)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run_spec(train_rival, *sys.argv[1:]))
