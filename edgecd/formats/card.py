"""The README.md of a bundle: a model card made from its manifest alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgecd.formats.manifest import CONFIG, Manifest


def model_card(manifest: Manifest, name: str) -> str:
    """Markdown for people: what it answers, how to call it, how it was made, its numbers."""
    made = manifest.provenance
    example = dict.fromkeys(manifest.prompt.fields, "...")
    call = '"..."' if len(example) == 1 else json.dumps(example, ensure_ascii=False)
    size_mb = manifest.size_bytes / 1e6
    return f"""---
library_name: edgecd
pipeline_tag: text-classification
---

# {name}

{_kind(manifest)}: {manifest.precision}, {size_mb:.1f} MB, at
most {manifest.max_length} tokens per input (longer fields are shortened from their ends).

{_recipe(made)}

## Use

```python
from edgecd import Predictor  # pip install 'edgecd[cpu]'
predictor = Predictor.load({json.dumps(name)})
print(predictor.predict({call}))
```
{_in_browsers(manifest, name)}
## Labels

{_labels(manifest)}

{_input(manifest)}

## Parity with the PyTorch checkpoint

{_table(_parity_rows(manifest.parity))}

## Licences

{_licences(made)}

## Provenance

{_table(made)}

`edgecd verify` checks the hashes, the graph and the recorded samples on the machine it runs on.
"""


def _in_browsers(manifest: Manifest, name: str) -> str:
    """How transformers.js loads it, where it has what that library asks for."""
    if CONFIG not in manifest.files:
        return ""
    return f"""
In JavaScript, a text a call (8-bit inputs are rounded by the largest of a call, so that in one of
several texts each would change the others' answers a little):

```js
import {{ pipeline }} from "@huggingface/transformers";
const classify = await pipeline("text-classification", {json.dumps(name)});
console.log(await classify("..."));
```
"""


def _kind(manifest: Manifest) -> str:
    task = _code(manifest.task)
    if manifest.language_model is None:
        return f"A text classifier for the task {task}"
    return (
        f"The frozen language model {_code(manifest.provenance.get('model', '?'))}, which answers "
        "for the task of any context made for it (`Predictor.load(bundle, context=...)`), and with "
        f"the one inside for {task}"
    )


def _labels(manifest: Manifest) -> str:
    """The columns of the logits; a prompt's labels are words, too."""
    prompted = manifest.form == "prompt"
    head = (
        "| column | label | word |\n|---|---|---|" if prompted else "| column | label |\n|---|---|"
    )
    lines = [
        f"| {column} | {_code(label)} |"
        + (f" {_code(manifest.verbalizer[label])} |" if prompted else "")
        for column, label in enumerate(manifest.labels)
    ]
    return "\n".join([head, *lines])


def _input(manifest: Manifest) -> str:
    """What the model reads: the template, or an encoder's texts."""
    if manifest.form == "prompt":
        return f"## Template\n\n{_block(manifest.template)}"
    return f"## Input\n\n{reads(manifest.form, manifest.prompt.fields)}, without a template."


def reads(form: str, fields: Sequence[str]) -> str:
    """What an encoder reads of an input with these fields, as a phrase."""
    names = [_code(name) for name in fields]
    if form == "text":
        return f"The text of {names[0]}"
    return f"The pair of {names[0]} and {', '.join(names[1:])}"


def _recipe(made: Mapping[str, Any]) -> str:
    if not made.get("teacher"):
        return "How it was made is under Provenance."
    layers = f" ({made['layers']} of its layers)" if made.get("layers") else ""
    return (
        f"Student {_code(made.get('student', '?'))}{layers}, taught by {_code(made['teacher'])} "
        f"(method {_code(made.get('method', '?'))}, adapter {_code(made.get('adapter', '?'))}, "
        f"{made.get('shots', '?')} demonstrations in the teacher's input, none in the student's)."
    )


def _licences(made: Mapping[str, Any]) -> str:
    """Whose weights and answers are in it, and what their licences are, where anyone said."""
    known = made.get("licences")
    stated: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
    parts = {
        "model": "holds the weights of",
        "student": "holds weights that were trained from those of",
        "teacher": "was trained on the outputs of",
    }
    lines = [
        f"- It {words} {_code(made[role])}, whose licence is "
        + (
            f"{_code(stated[role])}, as its README says."
            if stated.get(role)
            else "not stated here."
        )
        for role, words in parts.items()
        if made.get(role) and (role in stated or not stated)
    ]
    if not lines:
        return "What it was made from is not recorded."
    return "\n".join(
        ["The licences of the models that it comes from apply to this bundle:", "", *lines]
    )


def _parity_rows(parity: Mapping[str, Any]) -> dict[str, Any]:
    """The gate's numbers without the list of what else was tried."""
    return {key: value for key, value in parity.items() if key != "tried"}


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {_code(key)} | {_code(value)} |" for key, value in flat(rows)]
    return "\n".join(["| | |", "|---|---|", *lines])


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, text) of every fact that is known, nested ones included."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif value not in (None, "", [], ()):
            rows.append((f"{prefix}{key}", _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _code(value: Any) -> str:
    """Inline code that stays one cell of a table, whatever the text holds."""
    text = str(value).replace("\n", "\\n").replace("|", "\\|")
    if "`" not in text:
        return f"`{text}`" if text else ""
    fence = _fence(text, "`")
    return f"{fence} {text} {fence}"


def _block(text: str) -> str:
    fence = _fence(text, "```")
    return f"{fence}text\n{text}\n{fence}"


def _fence(text: str, fence: str) -> str:
    while fence in text:
        fence += "`"
    return fence
