"""Output folders are whole or not there, and --force replaces nothing that edgecd did not write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecd.errors import InputError
from edgecd.files import work_prefix
from edgecd.host import folders
from edgecd.host.folders import MARK, claim, forget_aside, new_folder, refuse_existing, set_aside


def make(path: Path, content: str = "new", force: bool = False, **more) -> None:
    with new_folder(path, force, **more) as part:
        (part / "model").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_new_folder_is_there_when_the_block_ends_well(tmp_path: Path):
    make(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "model").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path):
    make(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out", force=True) as part:
        (part / "model").write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "out" / "model").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("swap", [True, False])
def test_force_replaces_edgecds_own_folder(tmp_path: Path, monkeypatch, swap):
    if not swap:  # a file system that cannot exchange two names
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    make(tmp_path / "out", "old")
    with pytest.raises(InputError, match="already exists: .*--force"):
        make(tmp_path / "out")
    make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "model").read_text() == "new"
    assert names(tmp_path) == ["out"]


def theses(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")


def marked_with_notes(folder: Path) -> None:
    make(folder)
    (folder / "notes.md").write_text("mine")


def one_file(folder: Path) -> None:
    folder.write_text("a file")


def damaged_mark(folder: Path) -> None:
    theses(folder)
    (folder / MARK).write_text('{"holds": 3}')


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (theses, "was not written by edgecd"),
        (marked_with_notes, r"did not write there \(notes.md\)"),
        (one_file, "was not written by edgecd"),
        (damaged_mark, "was not written by edgecd"),
    ],
)
def test_force_does_not_replace_what_others_wrote(tmp_path: Path, there, why):
    there(tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=why):
        make(tmp_path / "out", force=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("inside", ["", "data.csv", "checkpoint/model"])
def test_force_does_not_replace_a_folder_of_inputs(tmp_path: Path, inside):
    make(tmp_path / "out", "old")
    with pytest.raises(InputError, match="which this command reads"):
        make(tmp_path / "out", force=True, inputs=[tmp_path / "out" / inside])
    make(tmp_path / "out", force=True, inputs=[tmp_path / "output", tmp_path])


@pytest.mark.parametrize("out", [".", "..", "../..", "here/../../work"])
def test_the_working_directory_is_no_output(tmp_path: Path, monkeypatch, out):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for force in (False, True):
        with pytest.raises(InputError, match="working directory"):
            refuse_existing(Path(out), force)


def test_a_folder_to_work_in_is_claimed_once_and_by_one_kind_of_command(tmp_path: Path):
    claim(tmp_path / "out", ("cells",), force=False)
    claim(tmp_path / "out", ("cells",), force=False)
    with pytest.raises(InputError, match="output of another command"):
        claim(tmp_path / "out", ("systems",), force=True)
    theses(tmp_path / "own")
    with pytest.raises(InputError, match="was not written by edgecd"):
        claim(tmp_path / "own", ("cells",), force=True)


def test_what_is_set_aside_is_kept_until_it_is_forgotten(tmp_path: Path):
    make(tmp_path / "out", "old")
    set_aside(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.replaced" / "model").read_text() == "old"
    forget_aside(tmp_path / "out")
    assert not names(tmp_path)


def test_what_dead_processes_left_goes_and_what_live_ones_write_stays(tmp_path: Path):
    program = (
        "import os, pathlib, tempfile; from edgecd.files import work_prefix; "
        f"tempfile.mkdtemp(dir={str(tmp_path)!r}, prefix=work_prefix(pathlib.Path('out')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    (dead,) = names(tmp_path)
    alive = tmp_path / f"{work_prefix(Path('out'))}x"
    alive.mkdir()
    (tmp_path / ".out.elsewhere-1-x").mkdir()  # another machine's
    make(tmp_path / "out")
    assert names(tmp_path) == sorted([alive.name, ".out.elsewhere-1-x", "out"])
    assert dead not in names(tmp_path)


def test_a_bundle_is_marked_by_its_manifest(tmp_path: Path):
    def bundle(force: bool = False) -> None:
        with new_folder(tmp_path / "out", force) as part:
            for name in ("model.onnx", "onnx/model.onnx"):
                (part / name).parent.mkdir(exist_ok=True)
                (part / name).write_text("graph")
            (part / "manifest.json").write_text(
                '{"files": {"model.onnx": {}, "onnx/model.onnx": {}}}'
            )

    bundle()
    assert names(tmp_path / "out") == ["manifest.json", "model.onnx", "onnx"]
    bundle(force=True)
    (tmp_path / "out" / "labels.csv").write_text("mine")
    with pytest.raises(InputError, match="labels.csv"):
        bundle(force=True)


@pytest.mark.parametrize("manifest", ["[]", '{"files": 3}', '{"name": "an extension"}', "x"])
def test_another_programs_manifest_is_no_mark(tmp_path: Path, manifest):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match="was not written by edgecd"):
        make(tmp_path / "out", force=True)
