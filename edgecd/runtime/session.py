"""Opening an ONNX graph with onnxruntime, on exactly the provider that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.errors import CheckFailed, InputError, first_line, require
from edgecd.formats.contract import HEAD, INPUTS, LOGITS, PAST, SEGMENTS
from edgecd.formats.manifest import Manifest, TensorSpec
from edgecd.host.machine import instruction_sets, int8_saturates
from edgecd.runtime.config import PROVIDERS
from edgecd.tasks.batching import padded
from edgecd.tasks.encoding import Encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}


def open_session(
    model: Path, provider: str = "cpu", threads: int | None = None
) -> InferenceSession:
    """A session over an ONNX file; `threads` is for one operator (None: onnxruntime's choice).

    Raises InputError when the provider is not there or the file is no graph that onnxruntime can
    run, MissingExtra without onnxruntime. `auto` takes the GPU when there is one.
    """
    if provider not in PROVIDERS:
        raise InputError(f"unknown provider {provider!r}: choose one of {', '.join(PROVIDERS)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    ort = require("onnxruntime", "cpu")
    has_cuda = _CUDA in ort.get_available_providers()
    if provider == "cuda" and not has_cuda:
        raise InputError(_no_cuda(f"this onnxruntime ({ort.__version__}) is built without it"))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # an error is raised; in a log it would show a stranger's names
    # Threads may wait actively between two operators, but not between two calls.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if int8_saturates(instruction_sets()):  # the exact way is slower, and takes more memory
        options.add_session_config_entry("session.x64quantprecision", "1")
    names = [_CUDA, _CPU] if has_cuda and provider != "cpu" else [_CPU]
    try:
        session: InferenceSession = ort.InferenceSession(
            str(model),
            options,
            providers=names,
            enable_fallback=int(len(names) > 1),  # else it tries twice, and says so on stdout
        )
    except Exception as bad:  # onnxruntime's own exceptions share no base class
        raise InputError(
            f"{model}: onnxruntime {ort.__version__} cannot load it: {first_line(bad)}"
        ) from None
    # onnxruntime goes on with the CPU when CUDA's libraries are missing, with only a warning.
    if provider == "cuda" and _CUDA not in session.get_providers():
        raise InputError(_no_cuda("its libraries (CUDA, cuDNN) could not be loaded"))
    return session


def signature(session: InferenceSession) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """The graph's inputs and outputs as a manifest writes them."""
    return _specs(session.get_inputs()), _specs(session.get_outputs())


def graph_inputs(
    encoded: Sequence[Encoded], pad_token_id: int, names: Collection[str]
) -> dict[str, NDArray[np.int64]]:
    """One batch of inputs as a graph takes it, int64 [inputs, longest] each, by name.

    SEGMENTS is among them where the graph's `names` have it: all of the first segment, where the
    tokenizer does not tell texts apart.
    """
    feed = dict(zip(INPUTS, padded([one.ids for one in encoded], pad_token_id), strict=True))
    if SEGMENTS in names:
        feed[SEGMENTS], _ = padded([one.type_ids or [0] * len(one.ids) for one in encoded], 0)
    return feed


def check_signature(session: InferenceSession, manifest: Manifest) -> None:
    """Raise CheckFailed when the graph is not what the manifest says, or not a classifier."""
    inputs, outputs = signature(session)
    for what, graph, said in (
        ("inputs", inputs, manifest.inputs),
        ("outputs", outputs, manifest.outputs),
    ):
        if graph != said:
            raise CheckFailed(f"the graph's {what} are {_words(graph)}, not {_words(said)}")
    is_open = manifest.language_model is not None
    wanted = dict.fromkeys(INPUTS, "int64")
    if is_open:
        wanted |= dict.fromkeys((PAST, HEAD), "float32")
    elif SEGMENTS in inputs:
        wanted[SEGMENTS] = "int64"
    if set(inputs) != set(wanted) or LOGITS not in outputs:
        raise CheckFailed(
            f"the graph takes {', '.join(inputs)} and gives {', '.join(outputs)}: "
            f"a bundle's takes {', '.join(wanted)} and gives {LOGITS}"
        )
    for name, dtype in wanted.items():
        if inputs[name].dtype != dtype:
            raise CheckFailed(f"the graph's input {name} must be {dtype}")
    columns = ("labels",) if is_open else (len(manifest.labels),)
    if outputs[LOGITS].dtype != "float32" or outputs[LOGITS].shape[1:] != columns:
        raise CheckFailed(
            f"the graph's logits are {outputs[LOGITS]}: they must be float32, "
            f"one column for each of the {len(manifest.labels)} labels"
        )


def _specs(tensors: Any) -> dict[str, TensorSpec]:
    return {
        tensor.name: TensorSpec(
            _DTYPES.get(tensor.type, tensor.type),
            tuple("any" if size is None else size for size in tensor.shape),
        )
        for tensor in tensors
    }


def _words(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.dtype}{list(spec.shape)}" for name, spec in specs.items())


def _no_cuda(why: str) -> str:
    return (
        f"provider 'cuda' is not available: {why}; install the GPU build "
        "(pip uninstall onnxruntime; pip install 'edgecd[gpu]') and NVIDIA's driver, "
        "or use --provider cpu"
    )
