"""A bundle in Python without edgecd: python predict.py BUNDLE TEXT [TEXT ...]

One TEXT for each field of the bundle's template. Needs numpy, onnxruntime and tokenizers. It trusts
the bundle: whoever does not checks it first (check_bundle.py). It refuses inputs that are too long;
BUNDLE.md says how they are shortened.
"""

import json
import string
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, *texts = sys.argv[1:]
manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
tokenizer.no_truncation()
tokenizer.no_padding()
tokenizer.encode_special_tokens = True  # what a user types is text
session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"))

pieces = list(string.Formatter().parse(manifest["template"]))
names = list(dict.fromkeys(name for _, name, _, _ in pieces if name is not None))
if len(texts) != len(names):
    sys.exit(f"give a text for each of: {', '.join(names)}")
fields = dict(zip(names, texts, strict=True))

form = manifest.get("form", "prompt")
if form == "prompt":
    prompt = "".join(text + (fields[name] if name else "") for text, name, _, _ in pieces)
    encoded = tokenizer.encode(prompt)
elif form == "text":
    encoded = tokenizer.encode(texts[0])
else:
    encoded = tokenizer.encode(texts[0], "\n".join(texts[1:]))
if len(encoded.ids) > manifest["max_length"]:
    sys.exit(f"the input has {len(encoded.ids)} tokens, more than {manifest['max_length']}")

values = {
    "input_ids": encoded.ids,
    "attention_mask": [1] * len(encoded.ids),
    "token_type_ids": encoded.type_ids,
}
feed = {name: np.array([values[name]], np.int64) for name in manifest["inputs"]}
(logits,) = session.run(["logits"], feed)
powers = np.exp(logits[0].astype(np.float64) - logits[0].max())
shares = powers / powers.sum()
unsure = shares.max() < (manifest.get("threshold") or 0)
label = None if unsure else manifest["labels"][int(shares.argmax())]
found = dict(zip(manifest["labels"], shares.tolist(), strict=True))
print(json.dumps({"label": label, "probabilities": found}, ensure_ascii=False))
