"""Does a bundle still do here what it did where it was exported?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecd.errors import CheckFailed, InputError, require
from edgecd.formats.bundle import check_files, read_manifest
from edgecd.formats.manifest import MANIFEST, Manifest
from edgecd.formats.precision import PRECISIONS
from edgecd.runtime.predictor import Predictor


def verify(path: str | Path) -> dict[str, Any]:
    """Check a bundle on this machine: manifest, hashes, graph, tokens and parity samples.

    Returns what was checked and the figures; raises CheckFailed on any mismatch, InputError when
    there is no bundle at `path`.
    """
    folder = Path(path)
    if not (folder / MANIFEST).exists():
        read_manifest(folder)  # says what is missing
    try:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        predictor = Predictor.load(folder)  # checks the graph's inputs and outputs
        largest = check_samples(predictor)
    except InputError as bad:
        raise CheckFailed(str(bad)) from None
    return {
        "bundle": str(folder),
        "ok": True,
        "precision": manifest.precision,
        "files": {name: record.sha256 for name, record in manifest.files.items()},
        "samples": len(manifest.samples),
        "max_abs_logit_diff": largest,
        "tolerance": tolerance(manifest),
        "tolerance_reason": _reason(manifest),
        "onnxruntime": require("onnxruntime", "cpu").__version__,
    }


def tolerance(manifest: Manifest) -> float:
    """The largest allowed difference from a sample's recorded logits, by precision and size."""
    largest = max((abs(x) for sample in manifest.samples for x in sample.logits), default=0.0)
    return PRECISIONS[manifest.precision].tolerance * max(1.0, largest)


def _reason(manifest: Manifest) -> str:
    return f"{manifest.precision}: {PRECISIONS[manifest.precision].reason}"


def check_samples(predictor: Predictor) -> float:
    """The largest difference from the recorded logits; CheckFailed when it, or a token, is off."""
    samples = predictor.manifest.samples
    if not samples:
        raise CheckFailed("the manifest has no parity samples: export the run again")
    allowed = tolerance(predictor.manifest)
    differences = []
    for number, sample in enumerate(samples):
        (encoded,) = predictor.encode([sample.fields])
        if tuple(encoded.ids) != sample.input_ids:
            raise CheckFailed(
                f"sample {number}: the tokenizer gives {_short(encoded.ids)}, "
                f"not the recorded {_short(sample.input_ids)}"
            )
        logits = predictor.run([encoded])[0]
        differences.append(float(np.abs(logits - np.array(sample.logits)).max()))
        if not differences[-1] <= allowed:  # also true for NaN
            raise CheckFailed(
                f"sample {number}: logits {_short(logits.tolist())}, recorded "
                f"{_short(sample.logits)}: off by {differences[-1]:.2g}, and {allowed:.2g} is "
                f"allowed ({_reason(predictor.manifest)}); "
                "on this machine the bundle does not do what was measured at export"
            )
    return max(differences)


def _short(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.5g}" for value in values[:8])
    return f"[{shown}{', ...' if len(values) > 8 else ''}] ({len(values)})"
