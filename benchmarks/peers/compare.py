"""Bundles next to what a user would take instead, on the same prompts and in the same minutes.

    python benchmarks/peers/compare.py CHECKPOINT BUNDLE... --examples FILE.jsonl --out FILE.json

Each system is loaded in a process of its own, and then all wait. A round gives each of them, one
after the other, some calls with each prompt length; nobody else's threads run in a turn.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from process import Child, Unavailable, prepare, warm_files
from prompts import Prompts, exact, read_prompts
from summary import latency, quality, table
from systems import OPTIMUM, PEERS, REFERENCE, System, bundle_system

from edgecd.bench.systems.peer import labels_of
from edgecd.errors import EdgecdError, InputError
from edgecd.files import fingerprint, write_json
from edgecd.formats.bundle import read_manifest
from edgecd.host.machine import describe_machine
from edgecd.runtime.predictor import load_tokenizer


def main() -> int:
    given = arguments()
    try:
        report = compare(given)
    except EdgecdError as bad:
        print(f"Error: {bad}", file=sys.stderr)
        return bad.exit_code
    write_json(given.out, report)
    print(table(report["rows"], given.lengths))
    return 0


def arguments() -> argparse.Namespace:
    names = [system.name for system in PEERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+", help="ratios are to the first one")
    parser.add_argument("--examples", type=Path, required=True, help="JSONL: fields, label")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=5, help="timed calls of one turn")
    parser.add_argument("--limit", type=int, default=10**9, help="examples, at most")
    parser.add_argument("--no-quality", action="store_true", help="time only")
    parser.add_argument("--systems", nargs="*", choices=names, default=names, metavar="SYSTEM")
    parser.add_argument("--optimum-python", help="interpreter with requirements-optimum.txt")
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="converted models")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """The whole comparison; InputError for arguments that do not go together."""
    manifest = read_manifest(given.bundles[0])
    if tuple(labels_of(given.checkpoint)) != manifest.labels:
        raise InputError(f"{given.checkpoint} and {given.bundles[0]} have different labels")
    tokenizer = load_tokenizer(given.checkpoint / "tokenizer.json")
    prompts = read_prompts(given.examples, tokenizer, manifest, given.limit)
    chosen = [bundle_system(folder) for folder in given.bundles]
    chosen += [system for system in PEERS if system.name in given.systems]
    rows: dict[str, dict[str, Any]] = {system.name: {"system": system.name} for system in chosen}
    if len(rows) < len(chosen):
        raise InputError("two systems have the same name: give each bundle's folder its name")
    first, work = chosen[0].name, work_folder(given)
    children: dict[str, Child] = {}
    try:
        for system in chosen:
            print(f"starting {system.name}", file=sys.stderr)
            try:
                children[system.name], facts = start(system, given, work, prompts)
                rows[system.name] |= facts
            except Unavailable as why:
                rows[system.name]["skipped"] = str(why)
        if first not in children:
            raise InputError(f"{first}: {rows[first]['skipped']}")
        times = take_turns(given, prompts, rows, children)
        logits = {} if given.no_quality else answer_all(prompts, rows, children)
    finally:
        for child in children.values():
            child.close()
    if "skipped" in rows[first]:
        raise InputError(f"{first}: {rows[first]['skipped']}")
    for name in children:
        if "skipped" in rows[name]:
            continue
        rows[name]["latency_ms"] = {
            str(length): latency(times[name, length], times[first, length])
            for length in given.lengths
        }
        known = quality(logits[name], logits.get(REFERENCE), prompts.gold) if logits else None
        rows[name]["quality"] = known
    return {
        "schema": 1,
        "machine": describe_machine(),
        "threads": given.threads,
        "rounds": given.rounds,
        "calls": given.calls,
        "lengths": given.lengths,
        "ratios_to": first,
        "rows": list(rows.values()),
    }


def work_folder(given: argparse.Namespace) -> Path:
    """Where this checkpoint's converted models are kept."""
    files = sorted(file for file in given.checkpoint.iterdir() if file.is_file())
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return given.work.resolve() / fingerprint(state)[:16]


def start(
    system: System, given: argparse.Namespace, work: Path, prompts: Prompts
) -> tuple[Child, dict[str, Any]]:
    """Prepare and load one system; its process, and what loading took."""
    python = sys.executable
    if system.module == OPTIMUM:
        if given.optimum_python is None:
            raise Unavailable("it needs an interpreter of its own: --optimum-python")
        python = given.optimum_python
    folder = work / system.files
    spec = {
        "module": system.module,
        "variant": system.variant,
        "checkpoint": str(given.checkpoint.resolve()),
        "folder": str(folder),
        "threads": given.threads,
        "max_tokens": max(*given.lengths, *map(len, prompts.ids)),
        "first": exact(prompts, given.lengths[0], 1)[0],
    }
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        prepare(python, {**spec, "folder": str(part)})
        part.rename(folder)
    disk_bytes = warm_files(folder)
    child = Child(python, spec)
    try:
        facts = child.read()
    except Unavailable:
        child.close()
        raise
    return child, {"disk_bytes": disk_bytes, **facts, "rests": child.rest()}


def take_turns(
    given: argparse.Namespace,
    prompts: Prompts,
    rows: dict[str, Any],
    children: dict[str, Child],
) -> dict[tuple[str, int], list[list[float]]]:
    """Milliseconds of each call: (system, length) -> rounds -> calls."""
    times: dict[tuple[str, int], list[list[float]]] = {}
    for place in range(given.rounds):
        print(f"round {place + 1} of {given.rounds}", file=sys.stderr)
        for length in given.lengths:
            turn = exact(prompts, length, given.calls, first=place * given.calls)
            for name, child in children.items():
                said = ask(rows, child, name, {"time": turn})
                if said is not None:
                    times.setdefault((name, length), []).append(said["ms"])
                    rows[name]["peak_rss_bytes"] = said["peak_rss_bytes"]
                    rows[name]["rests"] &= child.rest()
    return times


def answer_all(
    prompts: Prompts, rows: dict[str, Any], children: dict[str, Child]
) -> dict[str, list[list[float]]]:
    """Every system's logits of every example, one system after the other."""
    logits = {}
    for name, child in children.items():
        print(f"answers of {name}", file=sys.stderr)
        said = ask(rows, child, name, {"answer": prompts.ids})
        if said is not None:
            logits[name] = said["logits"]
            child.rest()
    return logits


def ask(
    rows: dict[str, Any], child: Child, name: str, command: dict[str, Any]
) -> dict[str, Any] | None:
    """The answer; None from a system that has stopped, whose row says so."""
    if "skipped" in rows[name]:
        return None
    try:
        return child.ask(command)
    except Unavailable as why:
        rows[name]["skipped"] = str(why)
        return None


if __name__ == "__main__":
    sys.exit(main())
