"""The documents' blocks of code, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text without indentation, and where it begins."""

    language: str
    text: str
    where: str

    def commands(self) -> Iterator[str]:
        """The shell commands of a block, without comments; lines that go on are joined."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#.*", "", line).strip()
            if command:
                yield re.sub(r"\s+", " ", command) if "'" not in command else command


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a Markdown file, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        indent = len(match[1])
        body = "\n".join(one[indent:] for one in match[3].splitlines())
        found.append(Block(match[2], body, f"{path.relative_to(ROOT)}:{line}"))
    return found
