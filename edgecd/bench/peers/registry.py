"""The peers by name, and what each needs. Nothing of them is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.bench import needs
from edgecd.errors import InputError, suggest


@dataclass(frozen=True)
class Peer:
    """One runtime, and the `module` of this package for it.

    `needs` are the modules for converting and running; `advice` is how to install them, where the
    packages' names alone would not do.
    """

    name: str
    module: str
    variant: str
    precision: str
    needs: tuple[str, ...]
    advice: str = ""

    @property
    def path(self) -> str:
        """The whole name of its module."""
        return f"{__package__}.{self.module}"


_TORCH = ("torch", "transformers")
_TRACED = (*_TORCH, "onnx", "onnx_ir", "onnxscript")
_ALONE = "pip install 'edgecd[cpu,optimum]' in an environment of its own, without transformers 5"
PEERS = (
    Peer("torch-fp32", "pytorch", "fp32", "fp32", _TORCH),
    Peer("torch-bf16", "pytorch", "bf16", "bf16", _TORCH),
    Peer("ort-fp32", "ort", "fp32", "fp32", ("onnxruntime", *_TRACED)),
    Peer("ort-dynamic-int8", "ort", "dynamic", "int8", ("onnxruntime", *_TRACED)),
    Peer("ort-dynamic-int8-nospin", "ort", "dynamic-nospin", "int8", ("onnxruntime", *_TRACED)),
    Peer(
        "optimum-dynamic-int8",
        "optimum",
        "dynamic",
        "int8",
        ("optimum.onnxruntime", "onnxruntime", "onnx", *_TORCH),
        _ALONE,
    ),
    Peer("openvino-int8", "openvino", "int8", "int8", ("openvino", "nncf", *_TRACED)),
    Peer("openvino-int8-f32", "openvino", "int8-f32", "int8", ("openvino", "nncf", *_TRACED)),
    Peer("ctranslate2-int8", "ctranslate2", "int8", "int8", ("ctranslate2", *_TORCH)),
    Peer("llama.cpp-q8_0", "llamacpp", "q8_0", "q8_0", ("llama_cpp", "gguf", *_TORCH)),
)
NAMES = tuple(peer.name for peer in PEERS)


def find(name: str) -> Peer:
    """The peer of that name; InputError, with the nearest one, when there is none."""
    for peer in PEERS:
        if peer.name == name:
            return peer
    raise InputError(
        f"unknown peer {name!r}: choose from {', '.join(NAMES)}" + suggest(name, NAMES)
    )


def installed() -> tuple[str, ...]:
    """The peers that can be converted for and run in this environment."""
    return tuple(peer.name for peer in PEERS if not missing_reason(peer.name))


def missing_reason(name: str) -> str:
    """What a peer needs that is not installed, and the command for it; empty when all is there."""
    peer = find(name)
    return needs.missing_reason(name, peer.needs, peer.advice)
