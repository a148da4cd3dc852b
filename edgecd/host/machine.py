"""What this machine is: processor, instruction sets, memory, GPU, versions of what matters."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

# Instruction sets that decide how fast (and, for int8, how exactly) a model runs.
ISA = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)
# Elsewhere bfloat16 is emulated, and slower than float32.
_BFLOAT16_ISA = {"avx512_bf16", "amx_bf16", "bf16"}
# What multiplies 8-bit numbers, the fastest first; each adds its products in 32 bits.
_EXACT_INT8 = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "i8mm": "NEON matrix products",
    "asimddp": "NEON dot products",
    "asimd": "NEON",
    "neon": "NEON",
}
PACKAGES = (
    "edgecd",
    "numpy",
    "tokenizers",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "peft",
    "onnx",
)


def describe_machine() -> dict[str, Any]:
    """`cpu`, `cores` this process may use, `isa`, `int8`, `ram_bytes`, `gpu`, `os`, `versions`.

    What cannot be found out is None or empty; nothing heavy is imported.
    """
    info, isa = _cpuinfo(), instruction_sets()
    return {
        "cpu": info.get("model name") or info.get("Model") or _sysctl() or platform.processor(),
        "cores": usable_cores(),
        "isa": isa,
        "int8": int8_products(isa),
        "ram_bytes": _ram_bytes(),
        "gpu": _gpu(),
        "os": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def fast_dtype(isa: Sequence[str], gpu: bool) -> str:
    """The faster floating-point type of a PyTorch model here: bfloat16 where it is native."""
    return "bfloat16" if gpu or _BFLOAT16_ISA & set(isa) else "float32"


def instruction_sets() -> list[str]:
    """Those of ISA that this processor has."""
    flags = _flags(_cpuinfo())
    return [name for name in ISA if name in flags]


def int8_products(isa: Sequence[str]) -> str:
    """What this processor multiplies 8-bit numbers with, for people."""
    if name := next((name for flag, name in _EXACT_INT8.items() if flag in isa), None):
        return name
    if int8_saturates(isa):
        return "x86 without VNNI: 8-bit products would saturate, so slower 16-bit ones are used"
    return "no 8-bit instructions known: expect int8 to be slow"


def int8_saturates(isa: Sequence[str]) -> bool:
    """Whether 8-bit products may overflow here: x86 that is not known to have VNNI or AMX."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return x86 and not any(name in isa for name in _EXACT_INT8)


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Processes that wanted a core during the last minute, on average; None where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is none."""
    found: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _flags(info: dict[str, str]) -> set[str]:
    return set((info.get("flags") or info.get("Features") or "").split())


def _sysctl() -> str | None:
    if platform.system() != "Darwin":
        return None
    return _output("sysctl", "-n", "machdep.cpu.brand_string")


def _gpu() -> str | None:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _output(*command: str) -> str | None:
    """What a command prints, on one line; None when it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ", ".join(done.stdout.split("\n")).strip(", ") or None


def _ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
