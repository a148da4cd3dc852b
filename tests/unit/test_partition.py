"""Partitions of tasks: families held out, MetaICL's data, and files that are wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from edgecd.contexts.meta_record import (
    META_TEST_FORMAT,
    Asked,
    MetaRow,
    MetaTestResult,
    meta_test_json,
    read_meta_rows,
    read_meta_test,
)
from edgecd.contexts.meta_table import meta_test_table, summarize
from edgecd.errors import InputError
from edgecd.files import read_json, read_toml
from edgecd.formats.record import to_json
from edgecd.tasks.partition import load_partition
from edgecd.training.record import FrozenModel
from tests import mend_world

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "mend"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def write(folder: Path, text: str) -> Path:
    (folder / "partition.toml").write_text(text, encoding="utf-8")
    return folder / "partition.toml"


def test_families_are_held_out(tmp_path: Path) -> None:
    world = mend_world.make_world(tmp_path)
    partition = load_partition(world / "partition.toml", None, None)
    assert partition.name == "tiny/to-size"
    assert [task.name for task in partition.train] == ["same", "words"]
    assert [task.family for task in partition.test] == ["size"]
    pool = partition.test[0].pool(13)
    assert len(pool.train) == len(pool.test) == 60
    pair = pool.train[0]
    assert pair.prompt.startswith("Text: ") and pair.prompt.endswith("\nLong:")
    assert pair.options == (" Yes", " No") and pair.answer in pair.options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('test = ["size"]', 'test = ["sizes"]'), "no task or family 'sizes'; did you mean"),
        (('test = ["size"]', 'test = ["same"]'), "same is both trained and tested on"),
        (('test = ["size"]', "test = []"), "has no test tasks"),
        (('test = ["size"]', 'test = "size"'), "must be a list"),
        (("family =", "famly ="), "unknown key 'famly'; did you mean 'family'"),
        (("[split.to-size]", "[splits.to-size]"), "unknown key 'splits'"),
        (("{premise} It", "{premise It"), "template"),
    ],
)
def test_a_bad_partition_is_explained(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = write(tmp_path, mend_world.PARTITION.replace(*change))
    with pytest.raises(InputError, match=message):
        load_partition(path, None, None)


def test_one_of_several_splits_must_be_chosen(tmp_path: Path) -> None:
    more = '[split.other]\ntrain = ["size"]\ntest = ["pairs"]\n[tasks.same]'
    path = write(tmp_path, mend_world.PARTITION.replace("[tasks.same]", more, 1))
    with pytest.raises(InputError, match="choose one with --split"):
        load_partition(path, None, None)
    with pytest.raises(InputError, match="no split 'to-siz', but .*did you mean 'to-size'"):
        load_partition(path, "to-siz", None)
    assert load_partition(path, "other", None).name == "tiny/other"


def test_metaicl_data_in_a_folder(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'metaicl = "allenai/metaicl-data"\n[split.x]\ntrain = ["glue-sst2"]\ntest = ["glue-rte"]\n',
    )
    rows = [{"task": "t", "input": f"text {n}", "output": "yes", "options": ["yes", "no"]}
            for n in range(20)]  # fmt: skip
    for name, file in (
        ("glue-sst2", "glue-sst2_16384_100_train.jsonl"),
        ("glue-rte", "glue-rte_16_13_train.jsonl"),
        ("glue-rte", "glue-rte_16_13_test.jsonl"),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name / file).write_text(text, encoding="utf-8")
    partition = load_partition(path, None, tmp_path)
    assert len(partition.train[0].pool(0).train) == 20
    pool = partition.test[0].pool(13)
    assert pool.test[3].text == "text 3\nyes" and pool.test[3].options == ("yes", "no")
    with pytest.raises(InputError, match="no such file"):
        partition.test[0].pool(21)


def test_the_shipped_partitions_are_metaicls_seven_and_a_small_one() -> None:
    splits = read_toml(SHIPPED / "metaicl.toml")["split"]
    assert set(splits) == {
        "class-to-class", "non-class-to-class", "non-nli-to-nli", "non-qa-to-qa", "qa-to-qa",
        "hr-to-lr", "non-paraphrase-to-paraphrase",
    }  # fmt: skip
    for name in splits:
        partition = load_partition(SHIPPED / "metaicl.toml", name, None)
        assert len(partition.train) >= 33 and len(partition.test) >= 4
    for name in ("to-nli", "from-nli"):
        partition = load_partition(SHIPPED / "small.toml", name, Path("nowhere"))
        families = [{task.family for task in side} for side in (partition.train, partition.test)]
        assert not families[0] & families[1]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_the_small_partition_reads_its_data() -> None:
    partition = load_partition(SHIPPED / "small.toml", "to-nli", SHARED)
    for task in (*partition.train, *partition.test):
        pool = task.pool(0)
        assert len(pool.train) >= 40 and len(pool.test) >= 50, task.name
        assert {pair.answer for pair in pool.train} == set(pool.train[0].options), task.name


BASELINES = ("zero-shot", "icl", "prompt-tuning")


def test_results_against_a_calculation_by_hand() -> None:
    rows = [
        MetaRow(
            system=system, task=task, family=task, seed=seed,
            shots=0 if system == "zero-shot" else 4, queries=10, positions=32,
            demonstration_tokens=9, accuracy=0.1, accuracy_calibrated=value + 0.1 * seed,
        )
        for system, value in (("zero-shot", 0.4), ("icl", 0.6), ("mine", 0.5))
        for task in ("a", "b")
        for seed in (0, 1)
    ]  # fmt: skip
    random.Random(0).shuffle(rows)
    found = {row.system: row for row in summarize(rows, *BASELINES).systems}
    assert found["mine"].accuracy == pytest.approx(0.55)
    assert found["mine"].share_of_icl == pytest.approx(0.5)
    assert found["mine"].accuracy_sd_over_seeds == pytest.approx(0.1 / 2**0.5)
    alike = summarize([row for row in rows if row.system == "icl"], *BASELINES)
    assert alike.systems[0].share_of_icl is None
    asked = Asked(
        partition="p", tasks=("a", "b"), language_model=FrozenModel("m", "f"), seeds=(0, 1),
        limit=10, shots=(4,), max_context=90, prompt_steps=0, matching=(), runs={},
    )  # fmt: skip
    result = MetaTestResult(META_TEST_FORMAT, asked, summarize(rows, *BASELINES))
    assert "| mine | 4 | 32 | 0.550 | 0.550 | 0.550 | 0.071 | 0.50 |" in meta_test_table(result)
    assert [
        (one.against, one.accuracy.difference, one.ahead, one.pairs)
        for one in result.found.differences
    ] == [("zero-shot", pytest.approx(0.1), 4, 4), ("icl", pytest.approx(-0.1), 0, 4)]
    assert "| mine | 4 | zero-shot | +10.0 [+10.0, +10.0] | 4 of 4 |" in meta_test_table(result)


@pytest.mark.parametrize("name", ["from-nli", "to-nli"])
def test_a_meta_test_that_was_measured_is_read_and_written_as_it_is(name: str) -> None:
    (path,) = SHIPPED.parent.glob(f"results/*/contexts/{name}/meta-test.json")
    kept = read_meta_test(path)
    assert json.dumps(meta_test_json(kept)) == json.dumps(read_json(path))
    assert meta_test_table(kept) == path.with_name("table.md").read_text(encoding="utf-8")
    assert to_json(summarize(kept.found.rows, *BASELINES)) == to_json(kept.found)


def test_a_row_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    assert read_meta_rows(tmp_path / "none.jsonl") == []
    row = MetaRow("s", "t", "f", 0, 4, 10, 32, 9, 0.5, None)
    line = json.dumps(to_json(row))
    (tmp_path / "rows.jsonl").write_text(line + "\n" + line[:20])
    assert read_meta_rows(tmp_path / "rows.jsonl") == [row] and row.counted == 0.5
    assert (tmp_path / "rows.jsonl").read_text() == line + "\n"
