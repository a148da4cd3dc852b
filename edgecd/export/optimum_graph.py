"""A run's checkpoint through Hugging Face Optimum, for those who trust its graphs more.

optimum-onnx 0.1 goes with transformers 4.57, not with 5, so it needs an environment of its own:
`pip install 'edgecd[export,cpu,optimum]'`.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgecd.errors import InputError, require
from edgecd.formats.contract import INPUTS, SEGMENTS

if TYPE_CHECKING:
    import onnx


def optimum_graph(checkpoint: Path) -> onnx.ModelProto:
    """The fp32 graph that Optimum writes of a text-classification checkpoint.

    Raises MissingExtra without Optimum, InputError when it cannot export the model or its graph
    takes more than token ids, mask and segments.
    """
    require("optimum.exporters.onnx", "optimum")
    import onnx
    from optimum.exporters.onnx import main_export

    with tempfile.TemporaryDirectory() as work:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                main_export(str(checkpoint), work, task="text-classification", device="cpu")
        except Exception as bad:  # Optimum has no error of its own
            reason = (str(bad).strip() or type(bad).__name__).splitlines()[0]
            raise InputError(f"Optimum cannot export {checkpoint}: {reason}") from bad
        graph = onnx.load(str(Path(work) / "model.onnx"))
    names = {value.name for value in graph.graph.input}
    if names - {SEGMENTS} != set(INPUTS):
        raise InputError(
            f"Optimum's graph takes {', '.join(sorted(names))}; edgecd's runtime gives "
            f"{', '.join(INPUTS)} and {SEGMENTS} only: use --exporter fused or torch"
        )
    return graph
