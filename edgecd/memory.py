"""Peak memory of this process and its children, by the kernel's own count."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """Peak resident set size of this process in bytes.

    Linux's VmHWM belongs to this program alone; getrusage's figure, used elsewhere, starts from
    the parent's at fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return _ru_maxrss_bytes(resource.RUSAGE_SELF)


def peak_child_rss_bytes() -> int:
    """Peak resident set size, in bytes, of the largest child process that has ended."""
    return _ru_maxrss_bytes(resource.RUSAGE_CHILDREN)


def _ru_maxrss_bytes(who: int) -> int:
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
