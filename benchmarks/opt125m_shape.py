"""A run folder with OPT-125M's shape and random weights, for latency, size and load figures.

    python benchmarks/opt125m_shape.py RUN OUT

RUN, a real run, gives the task, the tokenizer and the held-out inputs; the labels of a random
model mean nothing, so export it with `--max-flips 100`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, OPTConfig, OPTForSequenceClassification

from edgecd.files import new_folder, read_json, write_json
from edgecd.training.student import save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.run / "checkpoint")
    old = read_json(options.run / "checkpoint" / "config.json")
    torch.manual_seed(0)
    config = OPTConfig(  # the defaults are OPT-125M's, its vocabulary too
        id2label={int(number): label for number, label in old["id2label"].items()},
        label2id=old["label2id"],
        pad_token_id=old["pad_token_id"],
        tie_word_embeddings=False,
    )
    model = OPTForSequenceClassification(config).eval()
    with new_folder(options.out) as part:
        save_checkpoint(model, tokenizer, part / "checkpoint")
        shutil.copy(options.run / "heldout.jsonl", part)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        run = read_json(options.run / "run.json")
        write_json(part / "run.json", {**run, "student": "opt-125m", "parameters": parameters})


if __name__ == "__main__":
    main()
