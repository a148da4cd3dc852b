"""The first paper's figures (https://arxiv.org/abs/2412.13243), from a sweep's aggregates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgecd.plotting.style import COLORS, MARKERS, figure, plain, save
from edgecd.sweep.record import AccuracyRow, CostRow, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = TypeVar("Row", AccuracyRow, CostRow)
_ADAPTER_STYLES = {"full": "-", "lora": "--", "bitfit": ":"}
_ADAPTER_NAMES = {"full": "", "lora": " + LoRA", "bitfit": " + BitFit"}


@dataclass(frozen=True)
class Line(Generic[Row]):
    """One line of a figure: a system's rows in the order of their shots."""

    label: str
    role: str
    style: str
    rows: Sequence[Row]


def draw_figures(result: SweepResult, folder: Path) -> list[str]:
    """Write those figures that the sweep has cells for, as PNG and SVG; returns their names.

    Raises MissingExtra without matplotlib.
    """
    accuracy = [row for row in result.aggregates.accuracy if row.calibrated]
    cost = result.aggregates.cost
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
    students = _distilled(accuracy)
    keep("fig5-cd-adapters", len(students) > 1, lambda to: _accuracy(accuracy, students, to))
    spent = _distilled(cost)
    keep("fig6-cd-adapters-memory-and-time", len(spent) > 1, lambda to: _costs(spent, to))
    return drawn


def _icl(rows: Sequence[AccuracyRow], model: str) -> Line[AccuracyRow] | None:
    label = "ICL, teacher" if model == "teacher" else "ICL, same size"
    role = "teacher-icl" if model == "teacher" else "same-size-icl"
    found = [row for row in rows if row.kind == "icl" and row.model == model]
    return Line(label, role, "-", found) if found else None


def _trained(rows: Sequence[Row], kind: str, adapter: str) -> Line[Row] | None:
    """The rows of a method and adapter; those over the vocabulary where PBFT has both heads."""
    found = [row for row in rows if row.kind == kind and row.adapter == adapter]
    reference = [row for row in found if row.head == "vocabulary"]
    role = "pbft" if kind == "pbft" else "student"
    label = kind.upper() + _ADAPTER_NAMES[adapter]
    return Line(label, role, _ADAPTER_STYLES[adapter], reference or found) if found else None


def _distilled(rows: Sequence[Row]) -> list[Line[Row]]:
    """Distillation with each adapter that the sweep has."""
    lines = (_trained(rows, "cd", adapter) for adapter in _ADAPTER_NAMES)
    return [line for line in lines if line]


def _base(rows: Sequence[Row], kind: str) -> Line[Row] | None:
    """A method without adapter, or with the first that the sweep has."""
    lines = (_trained(rows, kind, adapter) for adapter in _ADAPTER_NAMES)
    return next((line for line in lines if line), None)


def _accuracy(every: Sequence[AccuracyRow], lines: Sequence[Line[AccuracyRow]], stem: Path) -> None:
    """A panel for each evaluation set: mean accuracy against shots, and its spread over seeds."""
    names = list(dict.fromkeys(name for line in lines for row in line.rows for name in row.sets))
    drawn, panels = figure(3.1 * len(names), 3.4, columns=len(names))
    for panel, name in zip(panels, names, strict=True):
        for line in lines:
            rows = [row for row in line.rows if name in row.sets]
            shots = [row.shots for row in rows]
            found = [row.sets[name].accuracy for row in rows]
            _plot(panel, line, shots, [one.mean for one in found])
            low = [one.mean - (one.sd or 0.0) for one in found]
            high = [one.mean + (one.sd or 0.0) for one in found]
            panel.fill_between(shots, low, high, color=COLORS[line.role], alpha=0.12, lw=0)
        for row in every:
            if row.kind == "zero-shot" and row.model == "student" and name in row.sets:
                level, color = row.sets[name].accuracy.mean, COLORS["same-size-zero-shot"]
                panel.axhline(level, color=color, ls="-.", lw=1, label="zero-shot, same size")
        _title(panel, name)
        _shots_axis(panel, lines)
    panels[0].set_ylabel("accuracy")
    _legend(panels)
    save(drawn, stem)


def _costs(lines: Sequence[Line[CostRow]], stem: Path) -> None:
    """Peak memory above the loaded model, and training time, against shots."""
    on_gpu = any(row.above_loaded_gpu_bytes is not None for line in lines for row in line.rows)
    kind = "GPU memory" if on_gpu else "memory"
    drawn, panels = figure(6.4, 3.4, columns=2)

    def memory_mb(row: CostRow) -> float | None:
        found = row.above_loaded_gpu_bytes if on_gpu else row.above_loaded_bytes
        return None if found is None else found * 1e-6

    for panel, of, title, unit in (
        (panels[0], memory_mb, f"Peak {kind} above the loaded model", "MB"),
        (panels[1], lambda row: row.training_s, "Training time", "s"),
    ):
        for line in lines:
            points = [(row.shots, value) for row in line.rows if (value := of(row)) is not None]
            _plot(panel, line, [x for x, _ in points], [y for _, y in points])
        _title(panel, title)
        panel.set_ylabel(unit)
        _shots_axis(panel, lines)
    for line in [line for line in lines if line.role == "student"][:1]:
        totals = [
            (row.shots, row.training_s + row.scoring_s)
            for row in line.rows
            if row.training_s is not None and row.scoring_s is not None
        ]
        if totals:
            grey = Line(f"{line.label}, with the teacher's scores", "peer", "--", line.rows)
            _plot(panels[1], grey, [x for x, _ in totals], [y for _, y in totals])
    for panel in panels:
        panel.set_ylim(bottom=0)
    _legend(panels)
    save(drawn, stem)


def _plot(panel: Axes, line: Line[Row], x: Sequence[float], y: Sequence[float]) -> None:
    color, marker = COLORS[line.role], MARKERS[line.role]
    (drawn,) = panel.plot(x, y, line.style, color=color, marker=marker, lw=1.5, label=line.label)
    drawn.set(markersize=4.5, clip_on=False)  # a mark on the edge of the panel is a whole one


def _title(panel: Axes, text: str) -> None:
    plain([panel.set_title(text, fontsize=10, loc="left")])


def _shots_axis(panel: Axes, lines: Sequence[Line[Row]]) -> None:
    shots = sorted({row.shots for line in lines for row in line.rows})
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
