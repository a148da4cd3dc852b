"""The precisions of a graph, in one table: what each costs, and what is asked of it.

How the graphs of a precision are made is told where they are made (`export.recipes`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecd.errors import InputError


@dataclass(frozen=True)
class Precision:
    """What weights and inputs of a graph are kept in, and how near to the checkpoint it must be.

    `help` is what the command line says of it. `max_flips_pct` is the usual limit of an export's
    gate, in percent of the labels, and `gate_tolerance` the largest difference of a logit there
    (None: any number). `tolerance`, for the `reason` that it has, is the largest difference of a
    logit between two machines, for logits up to 1 (in proportion above). A device runs `batch_rows`
    inputs at a time. `is_quantized` says whether weights are rounded to whole numbers. A compressor
    has a `context_tolerance`, the largest error of its keys and values (root mean squares); None
    where there are none.
    """

    name: str
    help: str
    max_flips_pct: float
    tolerance: float
    reason: str
    gate_tolerance: float | None = None
    batch_rows: int = 32
    is_quantized: bool = False
    context_tolerance: float | None = None


FP32 = "fp32"
PRECISIONS = {
    one.name: one
    for one in (
        Precision(
            FP32,
            help="Full precision (the default).",
            max_flips_pct=2.0,
            gate_tolerance=1e-3,
            tolerance=1e-3,
            reason="CPUs differ only in the order of sums",
            context_tolerance=1e-5,
        ),
        Precision(
            "fp16",
            help="Half precision, for GPUs.",
            max_flips_pct=2.0,
            tolerance=0.05,
            reason="where a device has no half precision, it computes in fp32",
        ),
        Precision(
            "int8",
            help="8-bit, gated.",
            max_flips_pct=2.0,
            tolerance=0.25,
            reason="processors round quantized products differently, so only gross errors show",
            # Dynamic int8 takes one scale from a whole batch, so there an answer would depend on
            # its neighbours: rows go alone.
            batch_rows=1,
            is_quantized=True,
            context_tolerance=0.1,
        ),
        Precision(
            "int4",
            help="4-bit weights: smaller, slower.",
            max_flips_pct=10.0,  # 4 bits are asked for by those who want size first
            tolerance=0.25,
            reason="inputs are rounded to 8 bits by block, in other ways on other processors",
            is_quantized=True,
        ),
    )
}


def find_precision(name: str) -> Precision:
    """A row of the table; InputError lists the names that there are."""
    if name not in PRECISIONS:
        raise InputError(
            f"precision {name!r} does not exist: choose one of {', '.join(PRECISIONS)}"
        )
    return PRECISIONS[name]
