"""The first paper's figures (https://arxiv.org/abs/2412.13243), from a sweep's aggregates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.plotting.style import COLORS, MARKERS, figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
_ADAPTER_STYLES = {"full": "-", "lora": "--", "bitfit": ":"}
_ADAPTER_NAMES = {"full": "", "lora": " + LoRA", "bitfit": " + BitFit"}


@dataclass(frozen=True)
class Line:
    """One line of a figure: a system's rows in the order of their shots."""

    label: str
    role: str
    style: str
    rows: Sequence[Row]


def draw_figures(result: Mapping[str, Any], folder: Path) -> list[str]:
    """Write those figures that the sweep has cells for, as PNG and SVG; returns their names."""
    accuracy = [row for row in result["aggregates"]["accuracy"] if row["calibrated"]]
    cost = result["aggregates"]["cost"]
    drawn = []

    def keep(name: str, ready: bool, draw: Callable[[Path], None]) -> None:
        if ready:
            draw(folder / name)
            drawn.append(name)

    prompts = [_icl(accuracy, "teacher"), _icl(accuracy, "student")]
    pbft, cd = _base(accuracy, "pbft"), _base(accuracy, "cd")
    main = [line for line in (*prompts, pbft, cd) if line]
    keep("fig1-accuracy-against-examples", bool(main), lambda to: _accuracy(accuracy, main, to))
    pair = [line for line in (_base(cost, "pbft"), _base(cost, "cd")) if line]
    keep("fig2-memory-and-time", len(pair) == 2, lambda to: _costs(pair, to))
    for name, adapter in (("fig3-pbft-lora", "lora"), ("fig4-pbft-bitfit", "bitfit")):
        with_adapter = _trained(accuracy, "pbft", adapter)
        lines = [line for line in (pbft, with_adapter, cd) if line]
        lines = list({line.label: line for line in lines}.values())
        keep(name, with_adapter is not None, lambda to, some=lines: _accuracy(accuracy, some, to))  # type: ignore[misc]
    students = [one for adapter in _ADAPTER_NAMES if (one := _trained(accuracy, "cd", adapter))]
    keep("fig5-cd-adapters", len(students) > 1, lambda to: _accuracy(accuracy, students, to))
    spent = [one for adapter in _ADAPTER_NAMES if (one := _trained(cost, "cd", adapter))]
    keep("fig6-cd-adapters-memory-and-time", len(spent) > 1, lambda to: _costs(spent, to))
    return drawn


def _icl(rows: Sequence[Row], model: str) -> Line | None:
    label = "ICL, teacher" if model == "teacher" else "ICL, same size"
    role = "teacher-icl" if model == "teacher" else "same-size-icl"
    found = [row for row in rows if row["kind"] == "icl" and row["model"] == model]
    return Line(label, role, "-", found) if found else None


def _trained(rows: Sequence[Row], kind: str, adapter: str) -> Line | None:
    """The rows of a method and adapter; those over the vocabulary where PBFT has both heads."""
    found = [row for row in rows if row["kind"] == kind and row["adapter"] == adapter]
    reference = [row for row in found if row["head"] == "vocabulary"]
    role = "pbft" if kind == "pbft" else "student"
    label = kind.upper() + _ADAPTER_NAMES[adapter]
    return Line(label, role, _ADAPTER_STYLES[adapter], reference or found) if found else None


def _base(rows: Sequence[Row], kind: str) -> Line | None:
    """A method without adapter, or with the first that the sweep has."""
    lines = (_trained(rows, kind, adapter) for adapter in _ADAPTER_NAMES)
    return next((line for line in lines if line), None)


def _accuracy(every: Sequence[Row], lines: Sequence[Line], stem: Path) -> None:
    """A panel for each evaluation set: mean accuracy against shots, and its spread over seeds."""
    names = list(dict.fromkeys(name for line in lines for row in line.rows for name in row["sets"]))
    drawn, panels = figure(3.1 * len(names), 3.4, columns=len(names))
    for panel, name in zip(panels, names, strict=True):
        for line in lines:
            rows = [row for row in line.rows if name in row["sets"]]
            shots = [row["shots"] for row in rows]
            means = [row["sets"][name]["mean"] for row in rows]
            spread = [row["sets"][name]["sd"] or 0.0 for row in rows]
            _plot(panel, line, shots, means)
            low = [mean - sd for mean, sd in zip(means, spread, strict=True)]
            high = [mean + sd for mean, sd in zip(means, spread, strict=True)]
            panel.fill_between(shots, low, high, color=COLORS[line.role], alpha=0.12, lw=0)
        for row in every:
            if row["kind"] == "zero-shot" and row["model"] == "student" and name in row["sets"]:
                level, color = row["sets"][name]["mean"], COLORS["same-size-zero-shot"]
                panel.axhline(level, color=color, ls="-.", lw=1, label="zero-shot, same size")
        _title(panel, name)
        _shots_axis(panel, lines)
    panels[0].set_ylabel("accuracy")
    _legend(panels)
    save(drawn, stem)


def _costs(lines: Sequence[Line], stem: Path) -> None:
    """Peak memory above the loaded model, and training time, against shots."""
    on_gpu = any(row["above_loaded_gpu_bytes"] is not None for line in lines for row in line.rows)
    memory = "above_loaded_gpu_bytes" if on_gpu else "above_loaded_bytes"
    kind = "GPU memory" if on_gpu else "memory"
    drawn, panels = figure(6.4, 3.4, columns=2)
    for panel, key, scale, title, unit in (
        (panels[0], memory, 1e-6, f"Peak {kind} above the loaded model", "MB"),
        (panels[1], "training_s", 1.0, "Training time", "s"),
    ):
        for line in lines:
            rows = [row for row in line.rows if row[key] is not None]
            _plot(panel, line, [row["shots"] for row in rows], [row[key] * scale for row in rows])
        _title(panel, title)
        panel.set_ylabel(unit)
        _shots_axis(panel, lines)
    for line in [line for line in lines if line.role == "student"][:1]:
        if rows := [row for row in line.rows if row["scoring_s"] is not None]:
            total = [row["training_s"] + row["scoring_s"] for row in rows]
            grey = Line(f"{line.label}, with the teacher's scores", "peer", "--", rows)
            _plot(panels[1], grey, [row["shots"] for row in rows], total)
    for panel in panels:
        panel.set_ylim(bottom=0)
    _legend(panels)
    save(drawn, stem)


def _plot(panel: Axes, line: Line, x: Sequence[float], y: Sequence[float]) -> None:
    color, marker = COLORS[line.role], MARKERS[line.role]
    (drawn,) = panel.plot(x, y, line.style, color=color, marker=marker, lw=1.5, label=line.label)
    drawn.set(markersize=4.5, clip_on=False)  # a mark on the edge of the panel is a whole one


def _title(panel: Axes, text: str) -> None:
    plain([panel.set_title(text, fontsize=10, loc="left")])


def _shots_axis(panel: Axes, lines: Sequence[Line]) -> None:
    shots = sorted({row["shots"] for line in lines for row in line.rows})
    panel.set_xscale("symlog", base=2, linthresh=1)
    panel.set_xticks(shots, [str(number) for number in shots])
    panel.minorticks_off()
    panel.set_xlabel("labelled examples")


def _legend(panels: Sequence[Axes]) -> None:
    found: dict[Any, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    panels[0].figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
