"""Energy of the processor packages, by Intel's and AMD's running average power limit (RAPL)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def energy_j(folder: Path = POWERCAP) -> dict[str, tuple[float, float]] | None:
    """Package -> (joules so far, where the count starts again); None where nobody may read it.

    Kernels since 5.10 let only the superuser read it, as it tells too much of what runs.
    """
    found = {}
    for package in sorted(folder.glob("intel-rapl:[0-9]")):
        try:
            used = float((package / "energy_uj").read_text())
            most = float((package / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return None
        found[package.name] = (used / 1e6, most / 1e6)
    return found or None


def spent_j(
    before: dict[str, tuple[float, float]] | None, after: dict[str, tuple[float, float]] | None
) -> float | None:
    """Joules of all packages between two readings, at most one wrap-around in between."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    total = 0.0
    for name, (start, most) in before.items():
        used = after[name][0] - start
        total += used if used >= 0 else used + most
    return total
