"""Figures of a test of contexts: accuracy against demonstrations and positions, learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgecd.contexts.meta_record import MetaTestResult, SystemSummary
from edgecd.contexts.train import PRETRAINING
from edgecd.files import read_toml
from edgecd.plotting.style import COLORS, MARKERS, figure, log_axis, plain, save
from edgecd.training.folder import CONFIG, METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROLES = {
    "zero-shot": "same-size-zero-shot",
    "icl": "same-size-icl-cached",
    "prompt-tuning": "prompt-tuning",
}
_OF_RUNS = ("mend", "student", "pbft")  # looks for as many runs, then again
_MATCHING = "context"
_CURVES = {"monitor_divergence": "KL, nats", "monitor_cross_entropy": "cross-entropy, nats"}


def write_figures(result: MetaTestResult, runs: Sequence[Path], out: Path) -> None:
    """`accuracy` of the result, and `learning` of the runs' logs, into OUT.

    Accuracy is drawn against positions, and against demonstrations where their numbers differ.
    """
    many, systems = len(result.asked.shots) > 1, result.found.systems
    drawn, panels = figure(7.2, 3.6, columns=2 if many else 1)
    names = [run.resolve().name for run in runs]
    roles = {system.system: _MATCHING for system in systems}
    roles |= dict(zip(names, cycle(_OF_RUNS), strict=False)) | _ROLES
    if many:
        _against(panels[0], systems, "shots", "demonstrations", roles)
        panels[0].set_xticks(result.asked.shots)
    _against(panels[-1], systems, "positions", "positions in front of a query", roles)
    log_axis(panels[-1], "x")
    panels[0].set_ylabel("mean accuracy")
    _legend(drawn, panels[0], 3)
    save(drawn, out / "accuracy")
    _learning(dict(zip(names, runs, strict=True)), out / "learning", roles)


def _against(
    panel: Axes,
    systems: Sequence[SystemSummary],
    by: Literal["shots", "positions"],
    label: str,
    roles: Mapping[str, str],
) -> None:
    """A line for each system, with its spread over seeds."""

    def place(system: SystemSummary) -> float:
        return system.shots if by == "shots" else system.positions

    for name in dict.fromkeys(system.system for system in systems):
        own = sorted((system for system in systems if system.system == name), key=place)
        role = roles[name]
        if name == "zero-shot" and by == "shots":
            panel.axhline(own[0].accuracy, color=COLORS[role], ls="-.", lw=1, label=name)
            continue
        places = [place(system) for system in own]
        if by == "positions":  # as many for most systems: a little apart, or they hide each other
            alike = (system.system for system in systems if place(system) == places[0])
            apart = list(dict.fromkeys(alike)).index(name)
            places = [one * 1.05**apart for one in places]
        panel.errorbar(
            places,
            [system.accuracy for system in own],
            yerr=[system.accuracy_sd_over_seeds or 0.0 for system in own],
            color=COLORS[role],
            marker=MARKERS[role],
            ms=6,
            lw=1.3,
            capsize=2,
            label=name,
        )
    panel.set_xlabel(label)


def _learning(runs: Mapping[str, Path], stem: Path, roles: Mapping[str, str]) -> None:
    """The monitored loss, a panel for each of its terms; stage 1 is dashed."""
    drawn, panels = figure(7.2, 3.2, columns=2)
    for name, run in runs.items():
        watched = _history(run)
        before = 0
        for stage in dict.fromkeys(one.stage for one in watched):
            own = [one for one in watched if one.stage == stage]
            for panel, term in zip(panels, _CURVES, strict=True):
                points = [
                    (before + one.step, one.losses[term]) for one in own if term in one.losses
                ]
                if points:
                    x, y = zip(*points, strict=True)
                    line = "--" if stage == PRETRAINING else "-"
                    label = f"{name}, {stage}"
                    panel.plot(
                        x, y, line, marker=".", lw=1.3, color=COLORS[roles[name]], label=label
                    )
            before += own[-1].step
    for panel, words in zip(panels, _CURVES.values(), strict=True):
        panel.set(xlabel="steps", ylabel=words)
    _legend(drawn, panels[0], 2)
    plain([drawn.suptitle("On episodes that are not trained on", fontsize=9)])
    save(drawn, stem)


def _legend(drawn: Figure, panel: Axes, columns: int) -> None:
    """Below the panels, of what one of them shows."""
    handles, labels = panel.get_legend_handles_labels()
    below = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 8}
    drawn.legend(handles, labels, **below)


@dataclass(frozen=True)
class _Watched:
    """A line of a run's log: the step of a stage, and the monitored losses by their names."""

    stage: str
    step: int
    losses: Mapping[str, float]


def _history(run: Path) -> list[_Watched]:
    """What the log of a run says, after that of the run that it started from."""
    config, log = run / CONFIG, run / METRICS
    start = read_toml(config).get("start") if config.exists() else None
    watched = _history(Path(start)) if start else []
    if log.exists():
        for text in log.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            losses = {term: line[term] for term in _CURVES if term in line}
            watched.append(_Watched(line["stage"], line["step"], losses))
    return watched
