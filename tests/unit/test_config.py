"""Run configuration: defaults once, TOML in, resolved TOML out."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgecd.config import load_config, to_toml
from edgecd.errors import InputError
from edgecd.training.config import TrainConfig


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("shots = 4\nalpha = 1\n")
    config = load_config(file, {"shots": 8, "seed": None}, TrainConfig)
    assert (config.shots, config.alpha, config.seed) == (8, 1.0, TrainConfig().seed)


@given(
    task=st.text(min_size=1),
    shots=st.integers(0, 99),
    alpha=st.floats(0, 1),
    lr=st.none() | st.floats(1e-9, 1),
    calibrate=st.booleans(),
)
def test_resolved_toml_reads_back_equal(tmp_path_factory, task, shots, alpha, lr, calibrate):
    config = TrainConfig(task=task, shots=shots, alpha=alpha, lr=lr, calibrate=calibrate)
    file = tmp_path_factory.mktemp("config") / "run.toml"
    assume(not (file.parent / task).exists())  # "." is a path, which is resolved
    file.write_text(to_toml(config), encoding="utf-8")
    assert load_config(file, {}, TrainConfig) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shot = 4", "unknown key 'shot'; did you mean 'shots'"),
        ('shots = "4"', "shots = '4' is not int"),
        ("shots = true", "shots = True is not int"),
        ("alpha = 2.0", "--alpha 2: must be from 0 to 1"),
        ('method = "magic"', "--method magic: choose one of cd, pbft"),
        ('adapter = "none"', "--adapter none: choose one of lora, bitfit, full"),
        ('method = "pbft"\nshots = 0', "learns from labelled examples"),
        ("shots =", "not valid TOML"),
    ],
)
def test_bad_configuration_is_explained(tmp_path, text, message):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(file, {}, TrainConfig)


def test_missing_file():
    from pathlib import Path

    with pytest.raises(InputError, match="no such file"):
        load_config(Path("nowhere.toml"), {}, TrainConfig)


def test_paths_in_a_file_are_taken_from_its_folder(tmp_path):
    (tmp_path / "task.toml").write_text("")
    (tmp_path / "run.toml").write_text('task = "task.toml"\nteacher = "facebook/opt-1.3b"\n')
    config = load_config(tmp_path / "run.toml", {}, TrainConfig)
    assert config.task == str(tmp_path / "task.toml")
    assert config.teacher == "facebook/opt-1.3b"
