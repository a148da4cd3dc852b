"""A bundle that another library loads, too: the same graph, and what that library asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecd.errors import InputError
from edgecd.export.run_folder import RunFolder
from edgecd.files import public, read_json
from edgecd.formats.bundle import Layout
from edgecd.formats.manifest import CONFIG, TOKENIZER_CONFIG, TRANSFORMERS_JS

# The types of weights by transformers.js's names.
_DTYPES = {"fp32": "fp32", "fp16": "fp16", "int8": "q8", "int4": "q4"}
# Of the tokenizer's settings those that say what it is, not how someone called it.
_TOKENIZER = (
    "tokenizer_class",
    "model_input_names",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "clean_up_tokenization_spaces",
    "add_prefix_space",
    "trim_offsets",
    *(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
)


def transformers_js(checkpoint: Path, loaded: RunFolder, precision: str) -> Layout:
    """What `pipeline("text-classification", FOLDER)` of transformers.js loads as it is.

    The dtype is in the configuration, so that nobody has to name it; texts are cut at the bundle's
    `max_length`. Raises InputError for a decoder, whose prompt a pipeline does not write, and for a
    precision that the library has no name for.
    """
    if loaded.template.form == "prompt":
        raise InputError(
            f"--for transformers.js: {loaded.made.get('student')} is a decoder, and the library's "
            "pipeline writes no prompt around a text: export a run whose student is an encoder, or "
            "read the bundle with edgecd-web"
        )
    if precision not in TRANSFORMERS_JS:
        raise InputError(f"--for transformers.js: the library has no name for {precision}")
    config: dict[str, Any] = read_json(checkpoint / CONFIG)
    config.pop("_name_or_path", None)
    config |= {
        "vocab_size": loaded.tokenizer.get_vocab_size(),
        "pad_token_id": loaded.pad_token_id,
        "transformers.js_config": {"dtype": _DTYPES[precision]},
    }
    settings = read_json(checkpoint / TOKENIZER_CONFIG)
    kept = {name: settings[name] for name in _TOKENIZER if settings.get(name) is not None}
    kept["model_max_length"] = loaded.max_length
    texts = {CONFIG: config, TOKENIZER_CONFIG: kept}
    return Layout(
        TRANSFORMERS_JS[precision],
        {name: {key: public(value) for key, value in one.items()} for name, one in texts.items()},
    )
