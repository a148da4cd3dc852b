"""Makes the page of licences: `python licences.py PAGE`, as `.ci/supply` calls it.

Reads on stdin what pip-licenses tells as JSON of the environment that runs this script. Which extra
needs a package is read from pyproject.toml and from the metadata of what is installed.
"""

from __future__ import annotations

import json
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NOT_SHOWN = {"demo", "dev", "docs", "gpu", "optimum"}
HEAD = """# Licences of dependencies

What edgecd installs, with the licence that each package states. edgecd itself is under
Apache-2.0. Made by `.ci/supply` from the environment that the tests run in; do not edit.

*Needed by* names the extras of edgecd that bring a package, *base* what every install has.
Packages that only tests and this site need are left out. PyTorch's CUDA build also brings
NVIDIA's libraries, under NVIDIA's own licence; its CPU build does not. Models have licences of
their own: a bundle's `README.md` names those of its student and its teacher.

| package | licence | needed by |
|---|---|---|
"""


def main() -> None:
    """Write the page."""
    licences = {canonicalize_name(one["Name"]): one for one in json.load(sys.stdin)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    roots = {"base": project["dependencies"]}
    roots |= {name: needs for name, needs in extras.items() if name not in NOT_SHOWN}
    needed: dict[str, list[str]] = {}
    for extra, requirements in roots.items():
        for name in sorted(_closure(requirements)):
            if "base" not in needed.setdefault(name, []):
                needed[name].append(extra)
    rows = [
        f"| {licences[name]['Name']} | {licences[name]['License']} | {', '.join(needed[name])} |"
        for name in sorted(needed)
        if name in licences
    ]
    Path(sys.argv[1]).write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def _closure(requirements: list[str]) -> set[str]:
    """The names of these requirements, and of all that they need here."""
    found: set[str] = set()
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        applies = one.marker is None or one.marker.evaluate({"extra": ""})
        if name in found or name == "edgecd" or not applies:
            continue
        found.add(name)
        try:
            needs = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        waiting += [need for need in needs if _is_asked(need, one.extras)]
    return found


def _is_asked(need: Requirement, extras: set[str]) -> bool:
    if need.marker is None:
        return True
    return any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


main()
