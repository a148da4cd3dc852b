"""A peer as a row of the benchmark: its files made once, then loaded and asked as a bundle is."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgecd.bench.exchange import Spec
from edgecd.bench.peers.registry import find, missing_reason
from edgecd.bench.systems.base import Fields, Loaded, Metadata, SkippedError
from edgecd.errors import EdgecdError, InputError, require
from edgecd.files import read_json, write_json
from edgecd.formats.bundle import read_manifest
from edgecd.formats.manifest import TOKENIZER
from edgecd.host.folders import new_folder
from edgecd.tasks.encoding import Encoded, encode_prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from edgecd.bench.peers.checkpoint import Logits
    from edgecd.formats.manifest import Manifest
    from edgecd.tasks.prompts import PromptTemplate

METADATA = "peer.json"


def prepare(
    name: str, checkpoint: Path, folder: Path, threads: int, work: Path | None = None
) -> None:
    """Convert a run's merged checkpoint into `folder`, which is new: all that `load` reads.

    `work` is an existing folder where conversions of this one checkpoint leave what others of them
    can use (the traced graph: as large as the weights in fp32, and minutes to make).
    Raises InputError for an unknown name, a missing package, a folder that is no checkpoint, and
    a model that the runtime or its converter cannot take. Takes minutes and gigabytes, so it
    belongs in a process of its own.
    """
    peer = find(name)
    if reason := missing_reason(name):
        raise InputError(reason)
    if not (checkpoint / TOKENIZER).is_file():
        raise InputError(f"{checkpoint} is not a run's checkpoint: it has no {TOKENIZER}")
    labels = labels_of(checkpoint)
    with (
        new_folder(folder) as part,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as own,
    ):
        require("torch", "train").set_num_threads(threads)
        convert = importlib.import_module(peer.path).prepare
        try:
            convert(checkpoint, part, peer.variant, work or Path(own))
        except EdgecdError:
            raise
        except Exception as bad:  # each converter has errors of its own
            raise InputError(f"{name} cannot convert {checkpoint}: {_short(bad)}") from bad
        # As a bundle has it: what is on disk can be compared.
        shutil.copy(checkpoint / TOKENIZER, part)
        write_json(part / METADATA, {"peer": name, "labels": labels})


@dataclass(frozen=True)
class PeerAnswerer:
    """Another runtime, asked one query at a time; see `edgecd.tasks.answerer`.

    Text becomes tokens as the manifest of a bundle of the same run says, in its form: a prompt,
    a text or a pair.
    """

    manifest: Manifest
    template: PromptTemplate
    tokenizer: Tokenizer
    run: Logits

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores' columns."""
        return self.manifest.labels

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens of each input; InputError for one that lacks a field of the template."""
        return [
            encode_prompt(self.tokenizer, self.template, fields, self.manifest.max_length)
            for fields in inputs
        ]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]; InputError as `encode`."""
        import numpy as np

        from edgecd.tasks.metrics import shaped

        scores = np.zeros((len(inputs), len(self.labels)), np.float32)
        for row, one in zip(scores, self.encode(inputs), strict=True):
            row[:] = shaped(self.run(one)[None], 1, len(self.labels), "the peer")
        return scores


def load(spec: Spec) -> Loaded:
    """A prepared peer, ready to answer; see `load_folder`.

    Of the spec's system: `runtime` is the peer's name, `bundle` a bundle of the same run; `folder`
    is the prepared one. Raises SkippedError where a GPU is asked for.
    """
    if spec.provider == "cuda":
        raise SkippedError("peers are measured on the processor only (--provider cpu)")
    folder, bundle = Path(str(spec.folder)), Path(str(spec.system.bundle))
    return load_folder(spec.system.runtime, folder, bundle, spec.threads)


def load_folder(name: str, folder: Path, bundle: Path, threads: int) -> Loaded:
    """What `prepare` wrote, asked one at a time; text becomes ids as the bundle's manifest says.

    Raises SkippedError when the runtime is missing or cannot load the folder, InputError when
    folder and bundle are of different runs.
    """
    peer = find(name)
    started = time.perf_counter()
    try:
        runtime = import_runtime(peer.path)
    except ImportError as bad:
        raise SkippedError(missing_reason(name) or _short(bad)) from None
    from edgecd.formats.tokenizerfile import load_tokenizer

    imported = time.perf_counter()
    manifest = read_manifest(bundle)
    if tuple(read_json(folder / METADATA).get("labels") or ()) != manifest.labels:
        raise InputError(f"{folder} and {bundle} have different labels: prepare it again")
    tokenizer = load_tokenizer(folder / TOKENIZER)
    try:
        run = runtime.load(folder, peer.variant, threads, manifest.max_length)
    except Exception as bad:  # each runtime has errors of its own
        raise SkippedError(f"it cannot load what was converted: {_short(bad)}") from bad
    ready = time.perf_counter()
    return Loaded(
        PeerAnswerer(manifest, manifest.prompt, tokenizer, run),
        batch_size=1,
        metadata=Metadata(
            runtime=runtime.PACKAGE,
            runtime_version=runtime_version(runtime),
            provider=runtime.PROVIDER,
            precision=peer.precision,
            parameters=manifest.provenance.get("parameters"),
            disk_bytes=sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
            context_tokens=0,
            import_ms=(imported - started) * 1e3,
            load_ms=(ready - imported) * 1e3,
        ),
    )


def labels_of(checkpoint: Path) -> list[str]:
    """A checkpoint's labels in the order of its logits; InputError when it does not say them."""
    path = checkpoint / "config.json"
    names = read_json(path).get("id2label") or {}
    if not names or set(names) != {str(place) for place in range(len(names))}:
        raise InputError(f"{path}: id2label does not name the labels from 0 on")
    return [str(names[str(place)]) for place in range(len(names))]


def import_runtime(module: str) -> ModuleType:
    """A runtime's module by its whole name, with everything imported that answering takes."""
    runtime = importlib.import_module(module)
    for name in (*runtime.IMPORTS, "tokenizers"):
        importlib.import_module(name)
    return runtime


def runtime_version(runtime: ModuleType) -> str:
    """The installed version of a runtime, or what it says itself: some builds have other names."""
    try:
        return version(runtime.PACKAGE)
    except PackageNotFoundError:
        return str(getattr(importlib.import_module(runtime.IMPORTS[0]), "__version__", "unknown"))


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
