"""Does Optimum run a bundle's graph as it is, and is the checkpoint the same model there?

    python benchmarks/peers/optimum_check.py CHECKPOINT BUNDLE

For an environment with requirements-optimum.txt. The checkpoint's config.json is laid beside the
bundle's model.onnx; `ORTModelForSequenceClassification` must give the logits of the checkpoint in
PyTorch under transformers 4.57, and those of edgecd's own Predictor. Exit code 0: they agree, 1:
they do not, 2: bad input.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from optimum.onnxruntime import ORTModelForSequenceClassification

from edgecd.bench.peers.checkpoint import load_classifier
from edgecd.errors import CheckFailed, EdgecdError
from edgecd.formats.manifest import MODEL, Manifest
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import tolerance

SAME_GRAPH = 1e-4  # in proportion to the largest logit
_CURE = (
    "; if its logits are off and the bundle's are right, look whether config.json has a "
    "`rope_theta` of its own: transformers before 5 does not read it from `rope_parameters`"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    given = parser.parse_args()
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"onnxruntime {onnxruntime.__version__}"
    )
    try:
        check(given.checkpoint, given.bundle)
    except EdgecdError as bad:
        print(f"Error: {bad}", file=sys.stderr)
        return bad.exit_code
    print("they agree")
    return 0


def check(checkpoint: Path, bundle: Path) -> None:
    """Compare three runs of the bundle's sample inputs; CheckFailed says which two differ."""
    predictor = Predictor.load(bundle)
    manifest = predictor.manifest
    encoded = predictor.encode([sample.fields for sample in manifest.samples])
    ours = predictor.run(encoded)
    prompts = [one.ids for one in encoded]
    optimum = optimum_logits(checkpoint, bundle, prompts)
    pytorch = checkpoint_logits(checkpoint, prompts)
    print(f"{len(prompts)} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens")
    for ids, *logits in zip(prompts, pytorch, optimum, ours, strict=True):
        names = ("checkpoint", "optimum", "edgecd")
        said = (f"{name} {row.round(3)}" for name, row in zip(names, logits, strict=True))
        print(f"  {len(ids):4d} tokens: " + ", ".join(said))
    graph_diff = float(np.abs(optimum - ours).max())
    if not graph_diff <= SAME_GRAPH * max(1.0, float(np.abs(ours).max())):
        raise CheckFailed(f"Optimum and edgecd differ by {graph_diff:.2g} on the same graph")
    compare(manifest, optimum, pytorch)


def compare(manifest: Manifest, optimum: np.ndarray, pytorch: np.ndarray) -> None:
    """Labels must be the checkpoint's wherever it prefers one by more than the export's own error.

    For fp32 that error is about nothing; for int8 it is the largest that the export's gate saw.
    """
    difference = float(np.abs(optimum - pytorch).max())
    allowed = tolerance(manifest)
    print(f"largest difference to the checkpoint: {difference:.2g}, allowed {allowed:.2g}")
    if not difference <= allowed:
        raise CheckFailed(
            f"Optimum's logits differ from the checkpoint's by {difference:.2g}{_CURE}"
        )
    ordered = np.sort(pytorch, axis=-1)
    # Two logits can each be off by so much.
    sure = ordered[:, -1] - ordered[:, -2] > 2 * float(manifest.parity["max_abs_logit_diff"])
    flips = (optimum.argmax(-1) != pytorch.argmax(-1)) & sure
    print(f"labels that differ: {int((optimum.argmax(-1) != pytorch.argmax(-1)).sum())}")
    if flips.any():
        raise CheckFailed(
            f"Optimum's label differs from the checkpoint's on {int(flips.sum())}{_CURE}"
        )


def checkpoint_logits(checkpoint: Path, prompts: list[list[int]]) -> np.ndarray:
    """What the checkpoint says of each prompt in PyTorch, float32 [prompts, labels]."""
    model = load_classifier(checkpoint)
    with torch.inference_mode():
        rows = [model(input_ids=torch.tensor([ids])).logits[0].numpy() for ids in prompts]
    return np.stack(rows)


def optimum_logits(checkpoint: Path, bundle: Path, prompts: list[list[int]]) -> np.ndarray:
    """What `ORTModelForSequenceClassification` says of each prompt, float32 [prompts, labels]."""
    with tempfile.TemporaryDirectory(prefix="optimum-check-") as name:
        folder = Path(name)
        shutil.copy(checkpoint / "config.json", folder)
        (folder / MODEL).symlink_to((bundle / MODEL).resolve())
        model = ORTModelForSequenceClassification.from_pretrained(folder, file_name=MODEL)
        rows = []
        for ids in prompts:
            tokens = torch.tensor([ids])
            rows.append(model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0])
    return torch.stack(rows).numpy()


if __name__ == "__main__":
    sys.exit(main())
