"""Memory of this process and its children, by the kernel's own count."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """Peak resident set size of this process in bytes.

    Linux's VmHWM belongs to this program alone; getrusage's figure, used elsewhere, starts from
    the parent's at fork.
    """
    return _status_bytes("VmHWM") or _ru_maxrss_bytes(resource.RUSAGE_SELF)


def rss_bytes() -> int | None:
    """Resident set size of this process now, in bytes; None where the system does not tell."""
    return _status_bytes("VmRSS")


def reset_peak_rss() -> bool:
    """Forget the peak so far, so that the next one is that of a phase; False where impossible.

    Only Linux can (`man proc_pid_clear_refs`).
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_child_rss_bytes() -> int:
    """Peak resident set size, in bytes, of the largest child process that has ended."""
    return _ru_maxrss_bytes(resource.RUSAGE_CHILDREN)


def _status_bytes(name: str) -> int | None:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _ru_maxrss_bytes(who: int) -> int:
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
