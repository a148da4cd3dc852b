"""The driver's end of a worker: a child that works only while it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from edgecd.host.processes import environment

HERE = Path(__file__).resolve().parent
WORKER = HERE / "worker.py"
UNAVAILABLE = 3
# After a call a runtime's threads may wait for the next one in a loop: onnxruntime's for some
# milliseconds, OpenMP's for up to some hundreds.
REST_S = 0.05
LONGEST_REST_S = 2.0


class Unavailable(Exception):
    """The system cannot run here; the text says why."""


class Child:
    """A worker process with one line of JSON in for each line out."""

    def __init__(self, python: str, spec: dict[str, Any]) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the child)
        self.process = subprocess.Popen(
            [python, WORKER, "serve", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=worker_environment(spec["threads"]),
            text=True,
        )

    def read(self) -> dict[str, Any]:
        """The next answer; Unavailable, with the last words, when the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            message: dict[str, Any] = json.loads(line)
            return message
        code = self.process.wait()
        self.log.seek(0)
        raise Unavailable(ending(code, self.log.read()))

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # read() says why
        return self.read()

    def rest(self) -> bool:
        """Wait until its threads take no processor time; False when they never stop."""
        time.sleep(REST_S)
        waited_s = REST_S
        before = cpu_ns(self.process.pid)
        while before is not None and waited_s < LONGEST_REST_S:
            time.sleep(0.02)
            waited_s += 0.02
            now = cpu_ns(self.process.pid)
            if now is None or now - before < 500_000:
                return True
            before = now
        if before is None:  # no such count on this system
            time.sleep(0.25)
            return True
        return False

    def close(self) -> None:
        """End the process: at the end of its input, else by force."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def prepare(python: str, spec: dict[str, Any]) -> float:
    """Make a system's files in a process of its own; seconds, or Unavailable."""
    began = time.perf_counter()
    done = subprocess.run(
        [python, WORKER, "prepare", json.dumps(spec)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=worker_environment(spec["threads"]),
        check=False,
    )
    if done.returncode:
        raise Unavailable(ending(done.returncode, done.stdout))
    return time.perf_counter() - began


def worker_environment(threads: int) -> dict[str, str]:
    """The variables of a worker: the threads, this checkout's edgecd, and no network."""
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **environment(threads),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
    }


def ending(code: int, said: bytes) -> str:
    """Why a process ended, in one line."""
    lines = said.decode(errors="replace").strip().splitlines()
    last = lines[-1].strip()[:300] if lines else "it said nothing"
    return last if code == UNAVAILABLE else f"its process ended with code {code}: {last}"


def cpu_ns(pid: int) -> int | None:
    """Processor time of all threads of a process so far; None where it is not counted."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except (OSError, ValueError, IndexError):
        return None


def warm_files(folder: Path) -> int:
    """Read a system's files, so that all load from memory alike; their size in bytes."""
    size = 0
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                while part := stream.read(1 << 24):
                    size += len(part)
    return size
