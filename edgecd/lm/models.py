"""Loading language models, from a folder, a hub or a GGUF file, and reading their label head."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from edgecd.errors import InputError
from edgecd.files import fingerprint, sha256_file
from edgecd.formats.kinds import is_encoder
from edgecd.host.hub import resolve_model
from edgecd.host.machine import fast_dtype, instruction_sets
from edgecd.tasks.control import as_text, still_as_text
from edgecd.tasks.encoding import label_token_ids
from edgecd.tasks.prompts import PromptTemplate

# edgecd has its own progress and its own words for what goes wrong.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Unsupported(InputError):
    """The model cannot do this at all, whatever the options; the text says why."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal LM in evaluation mode with the tokenizer that belongs to it."""

    name: str
    model: PreTrainedModel
    tokenizer: Any  # a transformers fast tokenizer
    identity: str  # changes when the weights do

    @property
    def text_tokenizer(self) -> Any:
        """The plain `tokenizers.Tokenizer`, which encodes texts as text (see `tasks.control`)."""
        return still_as_text(self.tokenizer.backend_tokenizer)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def max_positions(self) -> int:
        """Tokens of the longest sequence the model was made for; 2^20 where it does not say."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or 1 << 20)


@dataclass(frozen=True)
class ModelFiles:
    """A language model whose weights are not loaded: what is known of it without them."""

    name: str
    tokenizer: Any
    identity: str
    device: torch.device
    dtype: torch.dtype

    @property
    def text_tokenizer(self) -> Any:
        """The plain `tokenizers.Tokenizer`, which encodes texts as text (see `tasks.control`)."""
        return still_as_text(self.tokenizer.backend_tokenizer)

    def load(self, kind: Any = AutoModelForCausalLM) -> LanguageModel:
        """The model itself, of an auto class; InputError when it is not of that kind.

        Unsupported, by its architecture, for an encoder that is asked for as a language model.
        """
        if kind is AutoModelForCausalLM:
            _refuse_encoder(self.name)
        source, options = _source(self.name)
        if options:
            options |= _plain_gguf()
        with _friendly(self.name):
            model = kind.from_pretrained(source, dtype=self.dtype, **options)
        if hasattr(model.config, "quantization_config"):  # unpacked above: nothing is quantized
            del model.config.quantization_config
        model = model.to(self.dtype).to(self.device).eval()
        return LanguageModel(self.name, model, self.tokenizer, self.identity)


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device; InputError when CUDA is asked for and not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: choose auto, cpu or cuda")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`float32`, `bfloat16`, or `auto`: the faster of the two on this device."""
    if name == "auto":
        name = fast_dtype(instruction_sets(), device.type == "cuda")
    if name not in _DTYPES:
        raise InputError(f"--dtype {name}: choose auto, {' or '.join(_DTYPES)}")
    return _DTYPES[name]


def load_language_model(name: str, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Load a local folder, a hub id or a `.gguf` file as a LanguageModel.

    Raises InputError when it is not there, not a language model, or has no fast tokenizer.
    """
    return find_model(name, device, dtype).load()


def find_model(name: str, device: torch.device, dtype: torch.dtype) -> ModelFiles:
    """The same model without its weights; InputError when it is not there."""
    return ModelFiles(name, load_fast_tokenizer(name), _identity(name), device, dtype)


def load_fast_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model; InputError when there is none."""
    source, options = _source(name)
    with _friendly(name):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{name} has no fast tokenizer (tokenizer.json), which devices need")
    as_text(tokenizer.backend_tokenizer)
    return tokenizer


def check_words(name: str, template: PromptTemplate) -> None:
    """Raise InputError unless each label's word is one token of this model; loads no weights."""
    label_token_ids(load_fast_tokenizer(name).backend_tokenizer, template, name)


def load_model_config(name: str) -> Any:
    """A model's transformers configuration, without its weights.

    Raises InputError when the model is not there or has none.
    """
    source, options = _source(name)
    with _friendly(name):
        return AutoConfig.from_pretrained(source, **options)


def label_head(model: PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """The output head's rows of the label tokens, float32 [labels, width].

    Proves on a probe that `last hidden state @ rows` are the model's own logits (no head bias,
    no logit scaling, no soft cap), and raises InputError for a model where they are not.
    """
    rows: torch.Tensor = model.get_output_embeddings().weight[list(token_ids)].detach().float()
    probe = torch.tensor([[7, 11, 13]], device=model.device) % model.config.vocab_size
    with torch.no_grad():
        own = model(input_ids=probe).logits[0, -1, list(token_ids)].float()
        hidden = model.base_model(input_ids=probe).last_hidden_state[0, -1].float()
    folded = rows @ hidden
    tolerance = 1e-4 if model.dtype == torch.float32 else 5e-2
    if not torch.allclose(own, folded, rtol=tolerance, atol=tolerance * float(own.abs().max() + 1)):
        raise InputError(
            f"{type(model).__name__}: its output head is more than a matrix (bias, scaling or "
            "soft cap), so its labels cannot be folded into a classifier exactly"
        )
    return rows


def check_context_fits(lm: LanguageModel, context: int, max_length: int) -> None:
    """Raise Unsupported when context and the longest query do not fit into the model."""
    if context + max_length > lm.max_positions:
        raise Unsupported(
            f"{context} tokens of demonstrations and up to {max_length} of input are more than "
            f"the {lm.max_positions} positions of {lm.name}: lower --shots or --max-length"
        )


def _refuse_encoder(name: str) -> None:
    known = load_model_config(name)
    if is_encoder(known):
        raise Unsupported(
            f"{name} is an encoder ({known.model_type}), which predicts no words and cannot be "
            "prompted: name a decoder (OPT, GPT-2, Llama, Qwen, Gemma ...)"
        )


def _source(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{name}: not a model folder (it has no config.json)")
        return str(path), {}
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: no such folder")
    return resolve_model(name), {}


def _plain_gguf() -> dict[str, Any]:
    # transformers 5 keeps GGUF weights packed unless told otherwise
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}


@contextlib.contextmanager
def _friendly(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as bad:
        reason = str(bad).strip().splitlines()[0] if str(bad).strip() else type(bad).__name__
        raise InputError(f"cannot load {name} as a causal language model: {reason}") from bad


def _identity(name: str) -> str:
    """A fingerprint of the weights: cheap (names, sizes, config), enough to notice a swap."""
    path = Path(name).expanduser()
    if path.is_file():
        return sha256_file(path)[:16]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".json"))
        return fingerprint(
            [(p.name, p.stat().st_size) for p in files],
            sha256_file(path / "config.json"),
            [_head(p) for p in files if p.suffix == ".safetensors"],
        )[:16]
    return str(getattr(load_model_config(name), "_commit_hash", None) or name)


def _head(path: Path, size: int = 1 << 22) -> str:
    """Hash of parts spread over a large file."""
    digest = hashlib.sha256()
    total = path.stat().st_size
    with path.open("rb") as stream:
        for eighth in range(8):
            stream.seek(total * eighth // 8)
            digest.update(stream.read(size // 8))
    return digest.hexdigest()
