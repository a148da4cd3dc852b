"""What a run costs: seconds and peak memory by phase, added up over all sessions of the run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from edgecd.files import read_json, write_json
from edgecd.formats.record import from_json, to_json
from edgecd.host.cost import Phase
from edgecd.host.memory import peak_rss_bytes, reset_peak_rss
from edgecd.training.record import Peaks

SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class _Kept:
    """The account of earlier sessions as its file holds it."""

    seconds: float = 0.0
    highest: Peaks = field(default_factory=Peaks)
    phases: Mapping[str, Phase] = field(default_factory=dict)


class Account:
    """Phases of a run, kept in a JSON file so that a killed run still knows what it spent.

    Phases do not overlap. `began` is when this session did, on the monotonic clock. Raises
    InputError for a file that holds something else.
    """

    def __init__(self, path: Path, device: torch.device, began: float) -> None:
        self._path = path
        self._cuda = device.type == "cuda"
        self._began = began
        kept = from_json(_Kept, read_json(path), str(path)) if path.exists() else _Kept()
        self._earlier_s = kept.seconds
        self._highest = kept.highest
        self.phases: dict[str, Phase] = dict(kept.phases)
        self._update: Callable[[], None] = lambda: None
        self._saved = time.monotonic()

    @contextmanager
    def phase(self, name: str, counts: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Measure the block as (a further part of) phase `name`, if `counts` when it is over."""
        self._peaks()
        separate = reset_peak_rss()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        earlier = self.phase_cost(name)
        began = time.monotonic()

        def update() -> None:
            if counts():
                peaks = self._peaks()
                if not separate:
                    peaks = dataclasses.replace(peaks, peak_rss_bytes=None)
                self.phases[name] = Phase(
                    earlier.seconds + time.monotonic() - began,
                    _highest(earlier.peak_rss_bytes, peaks.peak_rss_bytes),
                    _highest(earlier.peak_gpu_bytes, peaks.peak_gpu_bytes),
                )

        self._update = update
        try:
            yield
        finally:
            self.save()
            self._update = lambda: None

    def phase_cost(self, name: str) -> Phase:
        """What a phase cost so far; nothing when there was no need for it."""
        return self.phases.get(name, Phase())

    def tick(self) -> None:
        """Write what was spent, every SAVE_EVERY_S; cheap enough for every step."""
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write what was spent so far, the phase that is going on included."""
        self._update()
        self._peaks()
        write_json(self._path, to_json(_Kept(self.seconds, self._highest, self.phases)))
        self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all sessions of the run, this one included."""
        return self._earlier_s + time.monotonic() - self._began

    def highest(self) -> Peaks:
        """The highest memory of all sessions so far."""
        self._peaks()
        return self._highest

    def _peaks(self) -> Peaks:
        """The peaks since the last reset, which also count among the highest."""
        gpu = torch.cuda.max_memory_allocated() if self._cuda else None
        peaks = Peaks(peak_rss_bytes(), gpu)
        self._highest = Peaks(
            _highest(self._highest.peak_rss_bytes, peaks.peak_rss_bytes),
            _highest(self._highest.peak_gpu_bytes, peaks.peak_gpu_bytes),
        )
        return peaks


def _highest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
