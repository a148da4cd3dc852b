"""What a run costs: seconds and peak memory by phase, added up over all sessions of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgecd.files import read_json, write_json
from edgecd.host.memory import peak_rss_bytes, reset_peak_rss

SAVE_EVERY_S = 5.0
RSS, GPU = "peak_rss_bytes", "peak_gpu_bytes"


class Account:
    """Phases of a run, kept in a JSON file so that a killed run still knows what it spent.

    A phase has `seconds`, `peak_rss_bytes` (None where the system cannot tell one phase's peak
    from another's) and `peak_gpu_bytes` (None without CUDA). Phases do not overlap.
    """

    def __init__(self, path: Path, device: torch.device, began: float) -> None:
        self._path = path
        self._cuda = device.type == "cuda"
        self._began = began
        kept = read_json(path) if path.exists() else {}
        self._earlier_s: float = kept.get("seconds", 0.0)
        self._highest: dict[str, Any] = kept.get("highest", {})
        self.phases: dict[str, dict[str, Any]] = kept.get("phases", {})
        self._update: Callable[[], None] = lambda: None
        self._saved = time.monotonic()

    @contextmanager
    def phase(self, name: str, counts: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Measure the block as (a further part of) phase `name`, if `counts` when it is over."""
        self._peaks()
        separate = reset_peak_rss()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        earlier = self.phases.get(name, {})
        began = time.monotonic()

        def update() -> None:
            if counts():
                peaks = self._peaks() if separate else {**self._peaks(), RSS: None}
                self.phases[name] = {
                    "seconds": earlier.get("seconds", 0.0) + time.monotonic() - began,
                    **_higher(earlier, peaks),
                }

        self._update = update
        try:
            yield
        finally:
            self.save()
            self._update = lambda: None

    def tick(self) -> None:
        """Save now and then; cheap enough for every step."""
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write what was spent so far."""
        self._update()
        self._peaks()
        kept = {"seconds": self.seconds, "highest": self._highest, "phases": self.phases}
        write_json(self._path, kept)
        self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of all sessions, this one included."""
        return self._earlier_s + time.monotonic() - self._began

    def highest(self) -> dict[str, Any]:
        """`peak_rss_bytes` and `peak_gpu_bytes` of everything so far."""
        self._peaks()
        return self._highest

    def _peaks(self) -> dict[str, Any]:
        """The peaks since the last reset, which also count among the highest."""
        gpu = torch.cuda.max_memory_allocated() if self._cuda else None
        peaks = {RSS: peak_rss_bytes(), GPU: gpu}
        self._highest = _higher(self._highest, peaks)
        return peaks


def _higher(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {key: [v[key] for v in (one, other) if v.get(key) is not None] for key in (RSS, GPU)}
    return {key: max(values, default=None) for key, values in both.items()}
