"""The manifest of a bundle: all of it as frozen data, parsed strictly as it comes from anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgecd.errors import InputError
from edgecd.formats import strict
from edgecd.formats.precision import PRECISIONS
from edgecd.tasks.prompts import FORMS, Form, PromptTemplate

FORMAT = 2
ENCODER_FORMAT = 3  # its inputs are no prompts, which older readers would make of them
MANIFEST, MODEL, TOKENIZER, README = "manifest.json", "model.onnx", "tokenizer.json", "README.md"
CONTEXT = "context.safetensors"
NEEDED = (MODEL, TOKENIZER)
LOADED = (*NEEDED, CONTEXT)  # what a predictor reads; a classifier has no context
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
# The graph and its settings where transformers.js looks for them, by precision.
TRANSFORMERS_JS = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_quantized.onnx",
    "int4": "onnx/model_q4.onnx",
}
# What a manifest may list; it cannot hold its own hash.
LISTED = (*LOADED, README, CONFIG, TOKENIZER_CONFIG, *TRANSFORMERS_JS.values())

# Limits on what a manifest may claim, far above any real one.
MAX_FILE_BYTES = 1 << 31  # a single ONNX file ends at 2 GiB
MAX_SAMPLES = 64


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be: hex SHA-256 and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the graph; a named dimension is free (`batch`, `sequence`)."""

    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Sample:
    """A parity sample: neutral text, its token ids, and the logits recorded at export."""

    fields: Mapping[str, str]
    input_ids: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything there is to know about a bundle; the keys of `manifest.json`, in its order.

    `labels` is the order of the logits' columns. `form` is what the graph reads of an input: the
    `prompt` of the template, or its fields as a `text` or a `pair`. Where no label has the
    probability of `threshold`, the answer is none of them. `prefix_ids` are the tokens
    that every prompt starts with, whose keys and values the graph holds as constants. `parity`
    holds the export gate's numbers, `provenance` how the model was made. `language_model` is given
    where the graph is a language model's, which takes any context made for it (see `context`): the
    fingerprint of its weights. The task is then that of the context in the bundle.
    """

    task: str
    labels: tuple[str, ...]
    verbalizer: Mapping[str, str]
    template: str
    max_length: int
    pad_token_id: int
    prefix_ids: tuple[int, ...]
    precision: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    parity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    samples: tuple[Sample, ...]
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    language_model: str | None = None
    form: Form = "prompt"
    threshold: float | None = None

    @property
    def size_bytes(self) -> int:
        """What all listed files take; one of two names counts once."""
        return sum({one.sha256: one.size_bytes for one in self.files.values()}.values())

    @property
    def format(self) -> int:
        """The oldest format whose readers understand this manifest."""
        return FORMAT if self.form == "prompt" else ENCODER_FORMAT

    @property
    def prompt(self) -> PromptTemplate:
        """The template with its verbalizer; InputError when either is wrong."""
        return PromptTemplate(self.template, self.verbalizer, self.form)


def parse_manifest(raw: Any) -> Manifest:
    """A manifest from its JSON value; every type, size and cross-reference is checked."""
    raw = strict.mapping(raw, "the manifest")
    version = strict.whole(strict.get(raw, "format"), "format", 0, 1 << 31)
    if version not in (FORMAT, ENCODER_FORMAT):
        raise InputError(
            f"format {version} is not known here (this version reads {FORMAT} and "
            f"{ENCODER_FORMAT}): update edgecd, or export the run again"
        )
    form = _form(strict.get(raw, "form")) if version == ENCODER_FORMAT else "prompt"
    labels, verbalizer = strict.labels(raw)
    precision = strict.text(strict.get(raw, "precision"), "precision", 32)
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    manifest = Manifest(
        task=strict.text(strict.get(raw, "task"), "task", 256),
        labels=labels,
        verbalizer=verbalizer,
        template=strict.text(strict.get(raw, "template"), "template", strict.MAX_TEXT),
        max_length=strict.whole(strict.get(raw, "max_length"), "max_length", 1, strict.MAX_TOKENS),
        pad_token_id=strict.whole(strict.get(raw, "pad_token_id"), "pad_token_id", 0, 1 << 31),
        prefix_ids=strict.tokens(strict.get(raw, "prefix_ids"), "prefix_ids"),
        precision=precision,
        inputs=_tensors(strict.get(raw, "inputs"), "inputs"),
        outputs=_tensors(strict.get(raw, "outputs"), "outputs"),
        parity=_parity(strict.get(raw, "parity")),
        provenance=strict.shallow(strict.get(raw, "provenance"), "provenance"),
        samples=tuple(
            _sample(item, len(labels))
            for item in strict.items(strict.get(raw, "samples"), "samples", MAX_SAMPLES)
        ),
        files=_files(strict.get(raw, "files")),
        language_model=_fingerprint(raw.get("language_model")),
        form=form,
        threshold=_threshold(raw.get("threshold")),
    )
    if (manifest.language_model is None) == (CONTEXT in manifest.files):
        raise InputError(f"files: {CONTEXT} belongs to a language_model, and to nothing else")
    prompt = manifest.prompt  # the template parses, the words are distinct
    if form != "prompt" and (manifest.language_model or form != prompt.without_pattern.form):
        fits = "a language model reads a prompt, an encoder one field as a text, several as a pair"
        raise InputError(f"form {form!r}: {fits}")
    fields = set(prompt.fields)
    if any(set(sample.fields) != fields for sample in manifest.samples):
        raise InputError("samples: the fields are not those of the template")
    return manifest


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a JSON value, `format` first; the oldest format has no `form`."""
    values = asdict(manifest)
    if manifest.format == FORMAT:
        del values["form"]
    return {"format": manifest.format, **values}


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    found = strict.number(value, "threshold")
    if not 0 <= found <= 1:
        raise InputError(f"threshold {found:g} must be from 0 to 1")
    return found


def _form(value: Any) -> Form:
    for form in FORMS[1:]:
        if value == form:
            return form
    raise InputError(f"form must be {' or '.join(FORMS[1:])}, as encoders read it")


def _tensors(value: Any, what: str) -> dict[str, TensorSpec]:
    specs = {}
    for name, raw in strict.mapping(value, what).items():
        spec = strict.mapping(raw, f"{what}.{name[:64]}")
        shape = tuple(
            strict.text(size, "shape", 64)
            if isinstance(size, str)
            else strict.whole(size, "shape", 0, 1 << 31)
            for size in strict.items(strict.get(spec, "shape"), "shape", 8)
        )
        specs[name] = TensorSpec(strict.text(strict.get(spec, "dtype"), "dtype", 32), shape)
    return specs


def _parity(value: Any) -> dict[str, Any]:
    parity = strict.shallow(value, "parity")
    for key in ("examples", "label_flips"):
        strict.whole(strict.get(parity, key), f"parity.{key}", 0, 1 << 31)
    strict.number(strict.get(parity, "max_abs_logit_diff"), "parity.max_abs_logit_diff")
    for key in ("accuracy_checkpoint", "accuracy_bundle"):
        if strict.get(parity, key) is not None:  # null when the held-out examples have no labels
            strict.number(parity[key], f"parity.{key}")
    return parity


def _fingerprint(value: Any) -> str | None:
    return None if value is None else strict.text(value, "language_model", 64)


def _sample(value: Any, labels: int) -> Sample:
    raw = strict.mapping(value, "samples")
    logits = [
        strict.number(x, "samples.logits")
        for x in strict.items(strict.get(raw, "logits"), "logits", strict.MAX_LABELS)
    ]
    if len(logits) != labels:
        raise InputError(f"samples: {len(logits)} logits for {labels} labels")
    return Sample(
        fields=strict.texts(strict.get(raw, "fields"), "samples.fields"),
        input_ids=strict.tokens(strict.get(raw, "input_ids"), "samples.input_ids"),
        logits=tuple(logits),
    )


def _files(value: Any) -> dict[str, FileRecord]:
    files = {}
    for name, raw in strict.mapping(value, "files").items():
        if name not in LISTED:  # also refuses every path: no folder, no `..`
            raise InputError(f"files: {name[:64]!r} is not one of {', '.join(LISTED)}")
        record = strict.mapping(raw, f"files.{name}")
        sha256 = strict.text(strict.get(record, "sha256"), f"files.{name}.sha256", 64)
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise InputError(f"files.{name}.sha256 must be 64 hexadecimal digits, lower case")
        size_bytes = strict.whole(strict.get(record, "size_bytes"), "size_bytes", 1, MAX_FILE_BYTES)
        files[name] = FileRecord(sha256, size_bytes)
    for name in NEEDED:
        if name not in files:
            raise InputError(f"files: {name} is missing")
    return files
