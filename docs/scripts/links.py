"""A hook of MkDocs: links to files of the repository that are no pages of the site.

A page under docs/ may link to such a file by its relative path (`../benchmarks/RESULTS.md`), which
works where the repository is read. On the site the link leads to `repo_url`; where that is not set,
the file's name stays without a link. A file that does not exist is a warning.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

LOG = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's text with its links out of docs/ resolved."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def resolve(match: re.Match[str]) -> str:
        words, path, anchor = match[1], match[2], match[3] or ""
        target = (folder / path).resolve()
        if target.is_relative_to(config.docs_dir):
            return match[0]
        if not target.exists():
            LOG.warning("%s: links to %s, which does not exist", page.file.src_uri, path)
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        if config.repo_url:
            return f"[{words}]({config.repo_url.rstrip('/')}/blob/main/{name}{anchor})"
        return f"{words} (`{name}` in the repository)"

    return _LINK.sub(resolve, markdown)
