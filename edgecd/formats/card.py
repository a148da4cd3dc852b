"""The README.md of a bundle: a model card made from its manifest alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecd.formats.manifest import Manifest


def model_card(manifest: Manifest, name: str) -> str:
    """Markdown for people: what it answers, how to call it, how it was made, its numbers."""
    made = manifest.provenance
    example = dict.fromkeys(manifest.prompt.fields, "...")
    call = '"..."' if len(example) == 1 else json.dumps(example, ensure_ascii=False)
    labels = [
        f"| {column} | {_code(label)} | {_code(manifest.verbalizer[label])} |"
        for column, label in enumerate(manifest.labels)
    ]
    size_mb = sum(record.size_bytes for record in manifest.files.values()) / 1e6
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

## Labels

| column | label | word |
|---|---|---|
{chr(10).join(labels)}

## Template

{_block(manifest.template)}

## Parity with the PyTorch checkpoint

{_table(_parity_rows(manifest.parity))}

## Provenance

{_table(made)}

`edgecd verify` checks the hashes, the graph and the recorded samples on the machine it runs on.
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


def _recipe(made: Mapping[str, Any]) -> str:
    if not made.get("teacher"):
        return "How it was made is under Provenance."
    return (
        f"Student {_code(made.get('student', '?'))}, taught by {_code(made['teacher'])} "
        f"(method {_code(made.get('method', '?'))}, adapter {_code(made.get('adapter', '?'))}, "
        f"{made.get('shots', '?')} demonstrations in the teacher's input, none in the student's)."
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
