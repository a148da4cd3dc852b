"""Which room of the package stands on which, read from its own imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import edgecd

PACKAGE = Path(edgecd.__file__).parent
# From the ground up: a room imports rooms of lower lines, and none beside it.
ORDER = (
    ("errors",),
    ("files", "console"),
    ("config", "host", "plotting"),
    ("tasks",),
    ("formats",),
    ("runtime", "lm"),
    ("training", "serve"),
    ("contexts",),
    ("export",),
    ("sweep", "bench"),
    ("demo",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# On a device, or in a process that only starts others, these need not be installed.
TORCH_SIDE = ("torch", "transformers", "peft", "accelerate")
WITHOUT_TORCH = ("runtime", "serve", "formats", "tasks", "host", "sweep", "cli")
CELLS = "edgecd.sweep.cell"  # each a process of its own, which trains

Imports = Mapping[str, set[str]]


def imports(tree: ast.AST, at_once: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements of a module, but for those that only a type checker reads.

    `at_once` leaves out those in functions, which wait until they are called.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(ast.Module(node.orelse, []), at_once)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, at_once)


def named(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import statement names: modules, and what is taken out of them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def trees() -> dict[str, ast.Module]:
    """Every module of the package by its whole name, parsed."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = ("edgecd", *file.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def graph() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, whenever it does."""
    modules = trees()

    def module(name: str) -> str:
        return name if name in modules else name.rpartition(".")[0]

    return {
        name: {
            module(other)
            for node in imports(tree)
            for other in named(node)
            if other.startswith("edgecd.") and module(other) in modules
        }
        - {name, "edgecd"}
        for name, tree in modules.items()
    }


def room(module: str) -> str:
    """The room that a module is in; a loose module is one of its own."""
    return module.split(".")[1] if "." in module else module


def between_rooms(found: Imports) -> Iterator[tuple[str, str]]:
    """(module, another that it imports) over the border of a room.

    The package itself and its `__main__` are doors into the house, not rooms of it.
    """
    for name, others in found.items():
        if room(name) not in ("edgecd", "__main__"):
            yield from ((name, other) for other in others if room(other) != room(name))


def circle(found: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of a graph, or nothing."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_has_its_place() -> None:
    assert {room(name) for name in graph()} - {"edgecd", "__main__"} <= set(LEVEL)


def test_no_import_runs_up() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, other in between_rooms(graph())
        if LEVEL[room(other)] >= LEVEL[room(name)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(graph()) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for name, other in between_rooms(graph()):
        rooms.setdefault(room(name), set()).add(room(other))
    assert circle(rooms) == []


@pytest.mark.parametrize("where", WITHOUT_TORCH)
def test_a_room_without_torch_names_it_in_functions_only(where: str) -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in trees().items()
        if room(name) == where and name != CELLS
        for node in imports(tree, at_once=True)
        for other in named(node)
        if other.split(".")[0] in TORCH_SIDE
    ]
    assert wrong == []


def test_imports_are_found_wherever_they_are() -> None:
    code = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import one\nelse:\n    import two\n"
        "def later():\n    if now:\n        from three import four\n"
        "class Kept:\n    import five\n"
    )
    tree = ast.parse(code)

    def names(at_once: bool) -> list[str]:
        return [name for node in imports(tree, at_once) for name in named(node)][1:]

    assert names(False) == ["two", "three.four", "five"]
    assert names(True) == ["two", "five"]
