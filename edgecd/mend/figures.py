"""Figures of a test of contexts: accuracy against demonstrations and positions, learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.distill.folder import METRICS
from edgecd.plotting import COLORS, MARKERS, figure, log_axis, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROLES = {
    "zero-shot": "same-size-zero-shot",
    "icl": "same-size-icl-cached",
    "prompt-tuning": "prompt-tuning",
}
_CURVES = {"monitor_divergence": "KL, nats", "monitor_cross_entropy": "cross-entropy, nats"}


def write_figures(result: Mapping[str, Any], runs: Sequence[Path], out: Path) -> None:
    """`positions` and `shots` of the result, and `learning` of the runs' logs, into OUT."""
    drawn, panels = figure(7.2, 3.6, columns=2)
    _against(panels[0], result["systems"], "shots", "demonstrations")
    _against(panels[1], result["systems"], "positions", "positions in front of a query")
    log_axis(panels[1], "x")
    panels[0].set_ylabel("mean accuracy")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save(drawn, out / "accuracy")
    _learning(runs, out / "learning")


def _against(panel: Axes, systems: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    """A line for each system, with its spread over seeds."""
    for name in dict.fromkeys(system["system"] for system in systems):
        own = sorted(
            (system for system in systems if system["system"] == name), key=lambda one: one[key]
        )
        role = _ROLES.get(name, "mend")
        if name == "zero-shot" and key == "shots":
            panel.axhline(own[0]["accuracy"], color=COLORS[role], ls="-.", lw=1, label=name)
            continue
        panel.errorbar(
            [system[key] for system in own],
            [system["accuracy"] for system in own],
            yerr=[system["accuracy_sd_over_seeds"] or 0.0 for system in own],
            color=COLORS[role],
            marker=MARKERS[role],
            ms=6,
            lw=1.3,
            capsize=2,
            label=name,
        )
    panel.set_xlabel(label)


def _learning(runs: Sequence[Path], stem: Path) -> None:
    """The monitored loss of each stage, a panel for each of its terms."""
    drawn, panels = figure(7.2, 3.2, columns=2)
    for run in runs:
        path = run / METRICS
        if not path.exists():
            continue
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        before = 0
        for stage in dict.fromkeys(line["stage"] for line in lines):
            own = [line for line in lines if line["stage"] == stage]
            for panel, key in zip(panels, _CURVES, strict=True):
                points = [(before + line["step"], line[key]) for line in own if key in line]
                if points:
                    x, y = zip(*points, strict=True)
                    panel.plot(x, y, marker=".", lw=1.3, label=f"{run.name}, {stage}")
            before += own[-1]["step"]
    for panel, words in zip(panels, _CURVES.values(), strict=True):
        panel.set_xlabel("steps")
        plain([panel.set_title(f"{words}, on episodes that are not trained on", loc="left")])
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=7.5)
    save(drawn, stem)
