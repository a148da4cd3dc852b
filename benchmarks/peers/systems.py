"""What is compared: the name of a row, the module that runs it, and where its files come from.

The modules of other runtimes are those of `edgecd bench --peers` (see `edgecd.bench.peers` for what
is in one), with more variants here; a bundle's is `peer_bundle`.
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
OPTIMUM = "edgecd.bench.peers.optimum"
PEERS = (
    System(REFERENCE, "edgecd.bench.peers.pytorch", "fp32", REFERENCE),
    System("ort-fp32", "edgecd.bench.peers.ort", "fp32", "ort-fp32"),
    System("ort-dynamic", "edgecd.bench.peers.ort", "dynamic", "ort-dynamic"),
    System("ort-dynamic-nospin", "edgecd.bench.peers.ort", "dynamic-nospin", "ort-dynamic"),
    System("optimum-dynamic", OPTIMUM, "dynamic", "optimum-dynamic"),
    System("openvino-int8", "edgecd.bench.peers.openvino", "int8", "openvino-int8"),
    System("openvino-int8-f32", "edgecd.bench.peers.openvino", "int8-f32", "openvino-int8"),
    System("ctranslate2-int8", "edgecd.bench.peers.ctranslate2", "int8", "ctranslate2-int8"),
    System("llama.cpp-q8_0", "edgecd.bench.peers.llamacpp", "q8_0", "llama.cpp-q8_0"),
)


def bundle_system(folder: Path) -> System:
    """The row of a bundle, which is its own prepared files."""
    return System(folder.resolve().name, "peer_bundle", "bundle", str(folder.resolve()))
