"""What the system refuses (disk, permissions, memory), in words for people."""

from __future__ import annotations

import errno
import re

_CURES = {
    errno.ENOSPC: "the disk is full: free some space, then run it again (train: with --resume)",
    errno.EDQUOT: "your disk quota is used up: free some space, then run it again",
    errno.EACCES: "permission denied: choose another place, or change its permissions",
    errno.EPERM: "permission denied: choose another place, or change its permissions",
    errno.EROFS: "it is on a read-only file system: choose another place",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EISDIR: "it is a folder where a file is meant",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EEXIST: "something of that name is in the way: choose another place",
    errno.ENOENT: "there is no such file or folder",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ELOOP: "its links lead in a circle",
}
_NO_MEMORY = "not enough memory: close other programs, or take a smaller model or --batch-size"


def system_fault(error: BaseException) -> str | None:
    """What the system refused (disk, permissions, memory), in one line with the cure.

    Native libraries tell it in errors of their own. None for an error of another kind.
    """
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    said = " ".join(str(error).split())
    if isinstance(error, OSError):
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
        said = _CURES.get(error.errno or 0, error.strerror or said)
        return f"{where}: {said}" if where else said
    if type(error).__name__ == "SafetensorError" and (code := re.search(r"os error (\d+)", said)):
        return f"weights could not be written or read: {_CURES.get(int(code[1]), said)}"
    if "not enough memory" in said or "out of memory" in said:  # torch, on a processor or a GPU
        return _NO_MEMORY
    return None
