"""Plain text for stage 1 with no download: `python make_corpus.py OUT [FILE.jsonl ...]`.

Python's own documentation, which every installation has, in passages of a few hundred tokens; and
the `text` column of the files that are named.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from edgecd.files import write_text
from edgecd.tasks.readers import read_rows

CHARACTERS = 2_800


def main(out: str, *files: str) -> None:
    """Write the corpus as JSON lines."""
    passages = [passage for topic in topics.values() for passage in cut(topic)]
    passages += [str(row.values["text"]) for file in files for row in read_rows(file)]
    lines = (json.dumps({"text": passage}, ensure_ascii=False) + "\n" for passage in passages)
    write_text(Path(out), "".join(lines))
    print(f"{len(passages)} passages: {out}")


def cut(text: str) -> Iterator[str]:
    """Passages of whole paragraphs, of CHARACTERS or a little more each."""
    passage = ""
    for paragraph in text.split("\n\n"):
        passage += paragraph.strip() + "\n\n"
        if len(passage) > CHARACTERS:
            yield passage.strip()
            passage = ""
    if len(passage) > CHARACTERS // 4:
        yield passage.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
