"""edgecd turns a prompt into a small on-device model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecd.runtime.predictor import Prediction as Prediction
    from edgecd.runtime.predictor import Predictor as Predictor

__version__ = "0.1.0"
__all__ = ["Prediction", "Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `edgecd --help` does not pay for onnxruntime.
    if name in ("Prediction", "Predictor"):
        from edgecd.runtime import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'edgecd' has no attribute {name!r}")
