"""Kill every command that writes, at random moments, many times: does it come to the same?

    python -m benchmarks.robustness.kills --kills 500 --out benchmarks/robustness/kills.json

A trial runs a command on tiny models, kills it with SIGKILL up to three times, runs it again until
it ends, and compares what it wrote with that of a command that was left alone. Where an older
output is replaced, it or the new one must be complete after each kill. Counts are written after
each round; a round is a few trials of every command.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from edgecd.files import write_json
from tests.killed import Told, commands, prepare, try_command

TRIALS_A_ROUND = 3


def main() -> None:
    """Read the options and go on until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="in all, at least")
    parser.add_argument("--only", default="", help="a part of the commands' names")
    parser.add_argument("--out", type=Path, required=True, help="where the counts go, as JSON")
    asked = parser.parse_args()
    prepare()
    told: dict[str, Told] = {}
    with tempfile.TemporaryDirectory(prefix="edgecd-kills-") as name:
        known = [one for one in commands(Path(name)) if asked.only in one.name]
        number = 0
        while sum(one.kills for one in told.values()) < asked.kills:
            for command in known:
                folder = Path(name) / "trials" / command.name.replace(" ", "-")
                found = try_command(command, TRIALS_A_ROUND, folder, seed=number)
                told[command.name] = told.get(command.name, Told(0, 0, ())) + found
                print(command.name, told[command.name], flush=True)
            number += 1
            write_json(asked.out, {one: vars(count) for one, count in told.items()})


if __name__ == "__main__":
    main()
