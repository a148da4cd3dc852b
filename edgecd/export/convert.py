"""From a run folder to a bundle: write the graph, quantize it, and let the gate decide."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bundle import write_bundle
from edgecd.encoding import Encoded
from edgecd.errors import CheckFailed, InputError, require
from edgecd.export import parity
from edgecd.export.run_folder import RunFolder, load_run
from edgecd.export.samples import record_samples
from edgecd.files import refuse_existing
from edgecd.manifest import MODEL, PRECISIONS, Manifest
from edgecd.runtime.predictor import Predictor, batches, padded
from edgecd.runtime.session import INPUTS, open_session, signature

if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel

EXPORTERS = ("auto", "fused", "torch")
FP32 = "fp32"
GRAPH_CHECK_EXAMPLES = 32


@dataclass(frozen=True)
class Candidate:
    """A graph on disk, how it was treated, its figures, and whether the gate lets it through."""

    treatment: str
    predictor: Predictor
    figures: parity.Figures
    size_bytes: int

    @property
    def row(self) -> dict[str, Any]:
        """One row of what was tried, as JSON."""
        return {
            "treatment": self.treatment,
            **asdict(self.figures),
            "flips_pct": round(self.figures.flips_pct, 3),
            "size_bytes": self.size_bytes,
        }


def export_run(
    run: Path,
    out: Path,
    precision: str = "fp32",
    max_flips_pct: float = 2.0,
    exporter: str = "auto",
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Export RUN/checkpoint as a bundle at `out`; returns what was done, as JSON.

    The first treatment, fastest first, whose answers differ from the PyTorch checkpoint's on at
    most `max_flips_pct` percent of the held-out examples is kept. Raises CheckFailed, with all
    that was tried, when none does; InputError for a run that is not finished or a wrong option.
    `report` gets one line of progress at a time.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"precision {precision!r} does not exist yet: choose one of {', '.join(PRECISIONS)}"
        )
    if exporter not in EXPORTERS:
        raise InputError(f"unknown exporter {exporter!r}: choose one of {', '.join(EXPORTERS)}")
    for module, extra in (("onnx", "export"), ("onnx_ir", "export"), ("onnxruntime", "cpu")):
        require(module, extra)
    refuse_existing(out, force)
    started = time.perf_counter()
    loaded, model = load_run(run)
    heldout = parity.read_heldout(run, loaded.tokenizer, loaded.template, loaded.max_length)
    calibration, gate = parity.split(heldout)
    report(f"PyTorch checkpoint on {len(gate.encoded)} held-out examples")
    reference = parity.checkpoint_logits(model, gate.encoded, loaded.pad_token_id)
    graph, used = _graph(model, exporter, report)
    del model  # the graph has its weights; two copies are enough
    # Beside the bundle, as temporary folders are memory on some machines.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.work.") as work:
        if precision == FP32:
            candidates: Iterator[tuple[str, onnx.ModelProto]] = iter([(FP32, graph)])
        else:
            _check_fp32(loaded, graph, gate, reference, Path(work))
            candidates = _treated(graph, calibration, loaded.pad_token_id)
        chosen, tried = _first_to_pass(
            candidates, loaded, precision, gate, reference, max_flips_pct, Path(work), report
        )
        manifest = replace(
            chosen.predictor.manifest,
            samples=record_samples(chosen.predictor),
            parity={
                **asdict(chosen.figures),
                "flips_pct": round(chosen.figures.flips_pct, 3),
                "max_flips_pct": max_flips_pct,
                "treatment": chosen.treatment,
                "tried": tried,
            },
            provenance={**loaded.made, "export": _provenance(used)},
        )
        written = write_bundle(
            out, manifest, _graph_path(Path(work)), loaded.tokenizer.to_str(), force
        )
    return {
        "bundle": str(out),
        "precision": precision,
        "exporter": used,
        "treatment": chosen.treatment,
        "parity": dict(written.parity),
        "size_bytes": sum(record.size_bytes for record in written.files.values()),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _graph(
    model: PreTrainedModel, exporter: str, report: Callable[[str], None]
) -> tuple[onnx.ModelProto, str]:
    """(the fp32 graph, the exporter that wrote it); `auto` prefers the fused one."""
    from edgecd.export.graph import FUSED_FAMILIES, fused_graph
    from edgecd.export.torch_graph import traced_graph

    family = model.config.model_type
    if exporter == "fused" or (exporter == "auto" and family in FUSED_FAMILIES):
        report(f"writing the fused graph of {family}")
        try:
            return fused_graph(model), "fused"
        except InputError as bad:
            if exporter == "fused":
                raise
            report(f"no fused graph: {bad}")
    report(f"tracing {family} with torch.onnx.export (minutes for a large model)")
    return traced_graph(model), "torch"


def _check_fp32(
    loaded: RunFolder,
    graph: onnx.ModelProto,
    gate: parity.HeldOut,
    reference: NDArray[np.float32],
    work: Path,
) -> None:
    """Refuse to quantize a graph that is wrong already, as no treatment would cure it."""
    few = slice(0, GRAPH_CHECK_EXAMPLES)
    part = parity.HeldOut(gate.encoded[few], gate.gold[few])
    predictor = _predictor(loaded, graph, FP32, work)
    figures = parity.compare(predictor.run(part.encoded), reference[few], part.gold)
    if not parity.passes(figures, FP32, max_flips_pct=100):
        raise CheckFailed(
            f"the fp32 graph differs from the PyTorch checkpoint by "
            f"{figures.max_abs_logit_diff:.3g} in its logits ({parity.MAX_FP32_LOGIT_DIFF} is "
            "allowed), so it was not quantized: try --exporter torch"
        )


def _treated(
    graph: onnx.ModelProto, calibration: Sequence[Encoded], pad_token_id: int
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """(name, graph) of each treatment, fastest first, made one at a time."""
    from edgecd.export.quantize import activation_ranges, quantize, treatments

    feeds = [
        dict(
            zip(INPUTS, padded([calibration[place] for place in places], pad_token_id), strict=True)
        )
        for places in batches([len(one.ids) for one in calibration], parity.REFERENCE_ROWS)
    ]
    for treatment in treatments(activation_ranges(graph, feeds)):
        yield treatment.name, quantize(graph, treatment)


def _first_to_pass(
    candidates: Iterator[tuple[str, onnx.ModelProto]],
    loaded: RunFolder,
    precision: str,
    gate: parity.HeldOut,
    reference: NDArray[np.float32],
    max_flips_pct: float,
    work: Path,
    report: Callable[[str], None],
) -> tuple[Candidate, list[dict[str, Any]]]:
    tried: list[dict[str, Any]] = []
    for treatment, graph in candidates:
        predictor = _predictor(loaded, graph, precision, work)
        figures = parity.compare(predictor.run(gate.encoded), reference, gate.gold)
        candidate = Candidate(treatment, predictor, figures, _graph_path(work).stat().st_size)
        tried.append(candidate.row)
        passed = parity.passes(figures, precision, max_flips_pct)
        report(
            f"{treatment}: {figures.label_flips} of {figures.examples} labels flipped "
            f"({figures.flips_pct:.2f}%), {'kept' if passed else 'refused'}"
        )
        if passed:
            return candidate, tried
    limits = f"at most {max_flips_pct:g}% of labels may flip"
    if precision == FP32:
        limits += f", and logits may differ by {parity.MAX_FP32_LOGIT_DIFF}"
    cure = "raise --max-flips, or export with --fp32"
    if precision == FP32:
        cure = "try --exporter torch"
    raise CheckFailed(
        f"no {precision} export is close enough to the PyTorch checkpoint ({limits}):\n"
        f"{parity.tried_table(tried)}\n{cure}"
    )


def _predictor(loaded: RunFolder, graph: onnx.ModelProto, precision: str, work: Path) -> Predictor:
    """The device's own code over a graph that is not a bundle yet."""
    import onnx

    path = _graph_path(work)
    onnx.save(graph, path)
    session = open_session(path)
    inputs, outputs = signature(session)
    manifest = Manifest(
        task=loaded.task,
        labels=loaded.template.labels,
        verbalizer=dict(loaded.template.verbalizer),
        template=loaded.template.text,
        max_length=loaded.max_length,
        pad_token_id=loaded.pad_token_id,
        precision=precision,
        inputs=inputs,
        outputs=outputs,
        parity={},
        provenance={},
        samples=(),
    )
    return Predictor(manifest, loaded.tokenizer, session)


def _graph_path(work: Path) -> Path:
    return work / MODEL


def _provenance(exporter: str) -> dict[str, Any]:
    """What exported, and on what kind of machine."""
    from edgecd.machine import describe_machine

    machine = describe_machine()
    return {"exporter": exporter, **{key: machine[key] for key in ("versions", "os", "cpu", "isa")}}
