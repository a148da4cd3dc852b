"""Loading language models, from a folder, a hub or a GGUF file, and reading their label head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from edgecd.errors import InputError
from edgecd.formats.kinds import is_encoder
from edgecd.host.machine import fast_dtype, instruction_sets
from edgecd.lm.source import check_tokenizer_file, find_source, friendly, identity_of
from edgecd.lm.weights import (
    nothing,
    of_head,
    refuse_lost,
)
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

    def load(self, kind: Any = AutoModelForCausalLM, without_head: bool = False) -> LanguageModel:
        """The model itself, of an auto class; InputError when it is not of that kind.

        Its files have every weight and no other, but for those of a head where it is loaded
        `without_head`: InputError names the others. Unsupported, by its architecture, for an
        encoder that is asked for as a language model.
        """
        if kind is AutoModelForCausalLM:
            _refuse_encoder(self.name)
        source, options = find_source(self.name)
        if options:
            options |= _plain_gguf()
        else:
            options = {"use_safetensors": True}
        with friendly(self.name):
            model, info = kind.from_pretrained(
                source,
                dtype=self.dtype,
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
        refuse_lost(self.name, info, of_head(model) if without_head else nothing)
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
    return ModelFiles(name, load_fast_tokenizer(name), identity_of(name), device, dtype)


def load_fast_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model; InputError when there is none."""
    source, options = find_source(name)
    if not options:
        check_tokenizer_file(source)
    with friendly(name):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
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
    source, options = find_source(name)
    with friendly(name):
        return AutoConfig.from_pretrained(source, trust_remote_code=False, **options)


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


def _plain_gguf() -> dict[str, Any]:
    # transformers 5 keeps GGUF weights packed unless told otherwise
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}
