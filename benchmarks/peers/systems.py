"""What is compared: the name of a row, the module that runs it, and where its files come from.

A module has the runtime's imports at its top (so that they are timed apart, and a missing package
makes a skipped row) and three names:

- `PACKAGE`: the distribution whose version the report names;
- `prepare(checkpoint, folder, variant)`: write what the runtime loads; in a process of its own,
  whose time and memory are not the system's;
- `load(folder, variant, threads)`: a function from token ids to float32 [labels], batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class System:
    """One row. `files` names the folder of prepared files, which variants may share."""

    name: str
    module: str
    variant: str
    files: str


REFERENCE = "pytorch-fp32"
PEERS = (
    System(REFERENCE, "peer_torch", "fp32", REFERENCE),
    System("ort-fp32", "peer_ort", "fp32", "ort-fp32"),
    System("ort-dynamic", "peer_ort", "dynamic", "ort-dynamic"),
    System("ort-dynamic-nospin", "peer_ort", "dynamic-nospin", "ort-dynamic"),
    System("optimum-dynamic", "peer_optimum", "dynamic", "optimum-dynamic"),
    System("openvino-int8", "peer_openvino", "int8", "openvino-int8"),
    System("openvino-int8-f32", "peer_openvino", "int8-f32", "openvino-int8"),
    System("ctranslate2-int8", "peer_ctranslate2", "int8", "ctranslate2-int8"),
    System("llama.cpp-q8_0", "peer_llamacpp", "q8_0", "llama.cpp-q8_0"),
)


def bundle_system(folder: Path) -> System:
    """The row of a bundle, which is its own prepared files."""
    return System(folder.resolve().name, "peer_bundle", "bundle", str(folder.resolve()))
