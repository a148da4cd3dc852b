"""A bundle as a system of the benchmark, as a device would run it: no PyTorch in its process."""

from __future__ import annotations

import time
from pathlib import Path

from edgecd.bench.exchange import Spec
from edgecd.bench.systems.base import Loaded, Metadata
from edgecd.formats.manifest import CONTEXT


def load(spec: Spec) -> Loaded:
    """The predictor of a bundle, with the system's context where it has one.

    Raises InputError or CheckFailed as `Predictor.load` does.
    """
    folder, context = Path(spec.system.model), spec.system.context
    started = time.perf_counter()
    import onnxruntime
    import tokenizers  # noqa: F401  (a bundle cannot be loaded without it: part of the start-up)

    from edgecd.formats.precision import PRECISIONS
    from edgecd.runtime.predictor import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load(folder, spec.provider, spec.threads, context)
    ready = time.perf_counter()
    manifest = predictor.manifest
    return Loaded(
        predictor,
        batch_size=PRECISIONS[manifest.precision].batch_rows,
        metadata=Metadata(
            runtime="onnxruntime",
            runtime_version=onnxruntime.__version__,
            provider=predictor.session.get_providers()[0],
            precision=manifest.precision,
            parameters=manifest.provenance.get("parameters"),
            disk_bytes=_disk_bytes(folder, context),
            context_tokens=predictor.context.positions if predictor.context else 0,
            import_ms=(imported - started) * 1e3,
            load_ms=(ready - imported) * 1e3,
        ),
    )


def _disk_bytes(folder: Path, context: str | None) -> int:
    """Of the bundle, with the context that is used instead of its own."""
    files = [file for file in folder.rglob("*") if context is None or file.name != CONTEXT]
    given = [] if context is None else [Path(context)]
    found = [file.stat() for file in (*files, *given) if file.is_file()]
    # One file may have two names.
    return sum({(one.st_dev, one.st_ino): one.st_size for one in found}.values())
