"""What a piece of work costs: seconds and peak memory, by phase."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One phase: wall-clock seconds, and the highest resident and CUDA memory in bytes.

    Memory is None where the system cannot tell that of one phase, or where there is no GPU.
    """

    seconds: float = 0.0
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds of each phase of a work; None for a phase that it does not have."""

    scoring: float | None = None
    training: float | None = None
    evaluation: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes of memory, of the process (`rss`) and on the GPU (`gpu`).

    `loaded` is what was resident with the model loaded and nothing done yet, `peak` the highest of
    the whole process, the others that of one phase. None for a phase that the work does not have,
    for one whose peak the system cannot tell, and for a GPU that is not there.
    """

    loaded_rss_bytes: int | None = None
    loaded_gpu_bytes: int | None = None
    training_peak_rss_bytes: int | None = None
    training_peak_gpu_bytes: int | None = None
    scoring_peak_rss_bytes: int | None = None
    scoring_peak_gpu_bytes: int | None = None
    evaluation_peak_rss_bytes: int | None = None
    evaluation_peak_gpu_bytes: int | None = None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
