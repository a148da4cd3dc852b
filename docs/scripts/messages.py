"""Makes docs/messages.csv, the tutorial's data: `python docs/scripts/messages.py`.

1,300 made-up messages to six teams, of which the team of 300 is known, fifty of each.
"""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

from edgecd.tasks.tickets.messages import tickets

PAGE = Path(__file__).parents[1] / "messages.csv"
ROWS, KNOWN_OF_EACH = 1_300, 50


def main() -> None:
    """Write the file."""
    rows = tickets("train", ROWS, seed=7)
    random.Random("edgecd tutorial").shuffle(rows)
    known: Counter[str] = Counter()
    with PAGE.open("w", encoding="utf-8", newline="") as stream:
        write = csv.writer(stream, lineterminator="\n").writerow
        write(("message", "team"))
        for row in rows:
            known[row["label"]] += 1
            write((row["text"], row["label"] if known[row["label"]] <= KNOWN_OF_EACH else ""))


main()
