"""Suites: what a file may say, and the cells that it comes to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.files import read_json
from edgecd.formats.record import to_json
from edgecd.host.cost import Memory, Seconds
from edgecd.host.processes import Failure
from edgecd.sweep.config import SweepConfig
from edgecd.sweep.record import (
    FORMAT,
    CellRecord,
    CellResult,
    SetAnswers,
    SweepResult,
    read_result,
    read_sweep,
    result_json,
    sweep_json,
    without_answers,
)
from edgecd.sweep.suite import Runs, Suite, expand, load_suite
from edgecd.sweep.table import aggregate, render, set_difference
from edgecd.tasks.metrics import bootstrap_interval, spread

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"
GIVEN = SweepConfig(task="mnli", teacher="big/model", student="small/model")
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results"
MINIMAL = """
shots = [2, 4]
seeds = [0]
[[runs]]
method = "cd"
adapters = ["lora"]
"""


def written(folder, text):
    path = folder / "suite.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["smoke", "paper-small", "paper"])
def test_the_suites_that_come_with_edgecd_can_be_read(name):
    suite = load_suite(SUITES / f"{name}.toml", GIVEN)
    cells = expand(suite)
    assert {cell.kind for cell in cells} >= {"icl", "zero-shot", "pbft", "cd", "scores"}
    assert all(cell.config.teacher == "big/model" for cell in cells)


def test_options_win_and_paths_are_taken_from_the_suites_folder(tmp_path):
    (tmp_path / "task.toml").touch()
    text = 'task = "task.toml"\nteacher = "a/b"\nstudent = "c/d"\nood = ["task.toml", "hans"]\n'
    config = SweepConfig(student="e/f", limit=7)
    suite = load_suite(written(tmp_path, text + MINIMAL), config)
    assert suite.task == str(tmp_path / "task.toml")
    assert (suite.teacher, suite.student, suite.limit) == ("a/b", "e/f", 7)
    assert suite.ood == (str(tmp_path / "task.toml"), "hans")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shot = [2]\n" + MINIMAL, "unknown key 'shot'; did you mean 'shots'"),
        (MINIMAL + "head = 'labels'", "cd takes no head"),
        (MINIMAL + "[runs.train]\nlearning_rate = 1.0", "unknown key 'learning_rate'"),
        (MINIMAL + "[runs.train]\nseed = 1", "said at the top"),
        (MINIMAL + "[runs.train]\nlr = 'high'", "lr = 'high' is not float"),
        (MINIMAL + "shots = [3]", "shots 3 are not among the suite's"),
        (MINIMAL.replace("lora", "lorra"), "needs adapters"),
        (MINIMAL.replace('"cd"', '"icl"'), "needs model"),
        (MINIMAL.replace('"cd"', '"mend"'), "choose one of"),
        (MINIMAL.replace("[0]", "[0, 0]"), "occurs twice"),
        (MINIMAL.replace("[0]", "[-1]"), "is not a number of 0 or more"),
        (MINIMAL.replace("[2, 4]", "2"), "give one number or more"),
        ("shots = [2]\nseeds = [0]", "no \\[\\[runs\\]\\]"),
        (MINIMAL + "[[runs]]\nmethod = 'cd'\nadapters = ['lora']", "two \\[\\[runs\\]\\] make"),
        (MINIMAL + "x = = 1", "not valid TOML"),
    ],
)
def test_a_suite_at_fault_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        expand(load_suite(written(tmp_path, text), GIVEN))


def test_a_suite_must_name_its_models(tmp_path):
    with pytest.raises(InputError, match="names no teacher"):
        load_suite(written(tmp_path, MINIMAL), SweepConfig(task="mnli"))


NUMBERS = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True).map(tuple)
ADAPTERS = st.lists(
    st.sampled_from(["lora", "bitfit", "full"]), min_size=1, unique=True, max_size=3
).map(tuple)


@settings(deadline=None, max_examples=30)
@given(shots=NUMBERS, seeds=NUMBERS, pbft=ADAPTERS, cd=ADAPTERS)
def test_cells_are_the_whole_product_seed_by_seed_and_scored_first(shots, seeds, pbft, cd):
    suite = Suite(
        "s",
        "mnli",
        "t/t",
        "s/s",
        shots,
        seeds,
        (
            Runs("cd", adapters=cd),
            Runs("pbft", adapters=pbft),
            Runs("icl", model="teacher"),
            Runs("zero-shot", model="student"),
        ),
    )
    cells = expand(suite)
    each = len(shots) * len(seeds)
    counts = {kind: sum(c.kind == kind for c in cells) for kind in ("cd", "pbft", "icl", "scores")}
    assert counts == {"cd": each * len(cd), "pbft": each * len(pbft), "icl": each, "scores": each}
    assert sum(cell.kind == "zero-shot" for cell in cells) == 1
    assert len({cell.name for cell in cells}) == len({cell.fingerprint for cell in cells})
    assert len({cell.name for cell in cells}) == len(cells)
    assert [c.config.seed for c in cells] == sorted((c.config.seed for c in cells), key=seeds.index)
    seen = set()
    for cell in cells:
        assert cell.scores is None or cell.scores in seen, "distilled before it was scored"
        seen.add(cell.name)


def test_students_with_other_transfer_sets_are_scored_apart(tmp_path):
    text = MINIMAL + '[[runs]]\nmethod = "cd"\nadapters = ["full"]\n[runs.train]\ntransfer = 9\n'
    cells = expand(load_suite(written(tmp_path, text), GIVEN))
    named = {cell.name: cell.scores for cell in cells if cell.kind == "cd"}
    assert named["cd-lora-2-shots-seed-0"] == "scores-2-shots-seed-0"
    assert named["cd-full-2-shots-seed-0"] == "scores-2-shots-seed-0-2"
    sizes = {cell.name: cell.config.transfer for cell in cells}
    assert sizes["scores-2-shots-seed-0"] == 2400 and sizes["scores-2-shots-seed-0-2"] == 9


def record(kind, seed, predictions, adapter="lora", model=None, **more):
    expected = (0, 1) * (len(predictions) // 2)
    right = float(np.mean(np.equal(predictions, expected)))
    told = tuple(int(one) for one in predictions)
    sets = {"main": SetAnswers("test", len(expected), right, right, told, expected)}
    memory = Memory(
        loaded_rss_bytes=100, training_peak_rss_bytes=150 + 10 * seed, peak_rss_bytes=200
    )
    result = CellResult(
        sets=sets,
        steps=10 + seed,
        trainable_parameters=7,
        seconds=Seconds(training=1.0 + seed, scoring=0.0),
        memory=memory,
    )
    whole = CellRecord(
        name=f"{kind}-{seed}",
        kind=kind,
        model=model,
        adapter=None if model else adapter,
        head="labels" if kind == "pbft" else None,
        shots=4,
        seed=seed,
        scores=f"scores-{seed}" if kind == "cd" else None,
        status="done",
        result=result,
    )
    return replace(whole, **more)


def scores(seed):
    result = CellResult(seconds=Seconds(scoring=20.0), memory=Memory(scoring_peak_rss_bytes=900))
    who = (f"scores-{seed}", "scores", None, None, None, 4, seed, None)
    return CellRecord(*who, "done", result)


RNG = np.random.default_rng(0)
GUESSES = RNG.integers(0, 2, (5, 40))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_mean_and_deviation_are_numpys(values):
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values)) and found.n == len(values)
    if len(values) == 1:
        assert found.sd is None
    else:
        assert found.sd == pytest.approx(np.std(values, ddof=1))


def test_differences_are_paired_by_seed_and_example():
    ours = [record("cd", seed, GUESSES[seed]) for seed in (0, 1, 2)]
    theirs = [record("pbft", seed, GUESSES[seed + 2]) for seed in (1, 2)]
    found = set_difference(ours, theirs, "main")
    truth = np.array([0, 1] * 20)
    gaps = ((GUESSES[1:3] == truth).astype(float) - (GUESSES[3:5] == truth)).mean(0)
    assert found.accuracy.difference == pytest.approx(gaps.mean())
    assert found.accuracy.ci95 == pytest.approx(bootstrap_interval(gaps))
    assert (found.seeds, found.examples) == (2, 40)
    assert set_difference(ours[:1], theirs, "main") is None


def test_the_table_aggregates_over_seeds_whatever_the_order():
    cells = [
        *(record("cd", seed, GUESSES[seed]) for seed in (0, 1)),
        *(record("pbft", seed, GUESSES[seed + 2]) for seed in (0, 1)),
        *(record("pbft", seed, GUESSES[seed + 2], adapter="full") for seed in (0, 1)),
        record("icl", 0, GUESSES[4], model="student"),
        *(scores(seed) for seed in (0, 1)),
    ]
    found = aggregate(cells)
    assert json.dumps(to_json(found)) == json.dumps(to_json(aggregate(cells[::-1])))
    (cd,) = (row for row in found.accuracy if row.kind == "cd")
    each = [np.mean(GUESSES[seed] == np.array([0, 1] * 20)) for seed in (0, 1)]
    assert cd.sets["main"].accuracy.mean == pytest.approx(np.mean(each))
    assert cd.sets["main"].accuracy.sd == pytest.approx(np.std(each, ddof=1))
    pairs = {(row.system, row.against) for row in found.differences}
    assert pairs == {("cd lora", "pbft lora"), ("cd lora", "icl student")}
    cost = {row.system: row for row in found.cost}
    assert cost["cd lora"].above_loaded_bytes == pytest.approx(55)
    assert cost["cd lora"].training_s == pytest.approx(1.5)
    assert cost["cd lora"].scoring_s == 20 and cost["pbft lora"].scoring_s is None


def test_the_page_shows_what_failed_and_what_was_skipped():
    skipped = CellResult(skipped="no biases")
    failure = Failure("ended with code 2", ("a", "out of luck"))
    cells = (
        record("cd", 0, GUESSES[0]),
        record("cd", 1, GUESSES[0], adapter="bitfit", status="skipped", result=skipped),
        record("pbft", 0, GUESSES[0], status="failed", result=CellResult(), failure=failure),
    )
    suite = Suite("s", "x", "t", "u", (4,), (0, 1), ())
    page = render(SweepResult(FORMAT, suite, {}, cells, ("pbft-0",), aggregate(cells)))
    assert "2 of 3 cells finished" in page
    assert "skipped: cd bitfit: no biases (1 cells)" in page
    assert "failed: pbft-0, its process ended with code 2: out of luck" in page
    assert "| cd lora | 4 |" in page and "pbft lora" not in page


def test_a_sweep_that_was_measured_is_read_and_written_as_it_is():
    (path,) = MEASURED.glob("*/paper-small/sweep.json")
    kept, cells = read_sweep(path), []
    assert json.dumps(sweep_json(kept)) == json.dumps(read_json(path))
    assert render(kept) == path.with_name("table.md").read_text(encoding="utf-8")
    for cell in kept.cells:
        folder = path.parent / "cells" / cell.name
        result, raw = read_result(folder), read_json(folder / "result.json")
        assert json.dumps(result_json(result, cell.kind, raw["fingerprint"])) == json.dumps(raw)
        cells.append(replace(cell, result=result))
    assert aggregate(cells) == kept.aggregates


def test_a_cell_without_its_answers_keeps_its_measures():
    whole = record("icl", 0, GUESSES[0], model="student")
    alone = without_answers(whole)
    assert "predictions" not in to_json(alone)["sets"]["main"]
    assert alone.result.sets["main"].accuracy == whole.result.sets["main"].accuracy
    assert to_json(alone)["sets"]["main"].keys() == {"split", "examples", "accuracy", "macro_f1"}
