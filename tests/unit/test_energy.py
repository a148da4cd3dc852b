"""Energy counters: read where there are some, followed over their end, and absent in peace."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecd.host.energy import energy_j, spent_j


def write_package(folder: Path, number: int, used_uj: int, most_uj: int = 262_143_328_850) -> None:
    package = folder / f"intel-rapl:{number}"
    package.mkdir(exist_ok=True)
    (package / "energy_uj").write_text(f"{used_uj}\n")
    (package / "max_energy_range_uj").write_text(f"{most_uj}\n")


def test_joules_of_all_packages_between_two_readings(tmp_path: Path) -> None:
    write_package(tmp_path, 0, 5_000_000)
    write_package(tmp_path, 1, 1_000_000)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of a package: it would count twice
    before = energy_j(tmp_path)
    write_package(tmp_path, 0, 8_000_000)
    write_package(tmp_path, 1, 1_500_000)
    assert spent_j(before, energy_j(tmp_path)) == pytest.approx(3.5)


def test_a_counter_that_started_again(tmp_path: Path) -> None:
    write_package(tmp_path, 0, 99_000_000, 100_000_000)
    before = energy_j(tmp_path)
    write_package(tmp_path, 0, 2_000_000, 100_000_000)
    assert spent_j(before, energy_j(tmp_path)) == pytest.approx(3.0)


def test_no_counters_no_energy(tmp_path: Path) -> None:
    assert energy_j(tmp_path) is None
    assert spent_j(None, None) is None
    (tmp_path / "intel-rapl:0").mkdir()  # there, but not to be read
    assert energy_j(tmp_path) is None
