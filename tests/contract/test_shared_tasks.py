"""Task files over real data read as they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

TASKS = Path(__file__).parents[3] / "shared" / "tasks"
pytestmark = pytest.mark.skipif(
    not TASKS.is_dir(), reason="needs ../shared/tasks beside the repository"
)


@pytest.mark.parametrize("name", ["ag_news", "hans", "mnli-binary", "rte", "snli-binary", "sst2"])
def test_every_split_has_both_text_and_every_label(name):
    task = load_task(str(TASKS / f"{name}.toml"))
    for split in task.splits:
        examples = read_split(task, split).examples
        assert {example.label for example in examples} == set(task.labels)
        assert all(
            example.fields[field].strip() for example in examples for field in example.fields
        )


def test_neutral_pairs_are_dropped_and_counted():
    split = read_split(load_task(str(TASKS / "mnli-binary.toml")), "validation")
    assert len(split.examples) == 666 and split.dropped == {"neutral": 333}


def test_three_way_pattern_over_the_same_data(tmp_path):
    text = (TASKS / "mnli-binary.toml").read_text().replace("../data", str(TASKS.parent / "data"))
    words = 'labels = { entailment = " True", neutral = " Neither", contradiction = " False" }'
    lines = [words if line.startswith("labels") else line for line in text.splitlines()]
    (tmp_path / "mnli.toml").write_text("\n".join(lines))
    task = load_task(str(tmp_path / "mnli.toml"), pattern="gpt-3")
    assert task.template.verbalizer["neutral"] == " Maybe"
    assert len(read_split(task, "validation").examples) == 999
