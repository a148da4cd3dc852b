"""Loading language models, from a folder, a hub or a GGUF file, and reading their label head."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import cached_file

from edgecd.errors import EdgecdError, InputError, first_line
from edgecd.formats.kinds import is_encoder
from edgecd.formats.manifest import TOKENIZER
from edgecd.formats.tokenizerfile import read_tokenizer
from edgecd.host.hashes import file_hash
from edgecd.host.hub import resolve_model
from edgecd.host.machine import fast_dtype, instruction_sets
from edgecd.lm.weights import (
    conversion,
    folder_identity,
    nothing,
    of_head,
    refuse_adapter,
    refuse_code,
    refuse_folder,
    refuse_lost,
)
from edgecd.tasks.control import as_text, still_as_text
from edgecd.tasks.encoding import label_token_ids
from edgecd.tasks.prompts import PromptTemplate

# edgecd has its own progress and its own words for what goes wrong.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

_QUIETLY = dict.fromkeys(
    ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"), False
)
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
        source, options = _source(self.name)
        if options:
            options |= _plain_gguf()
        else:
            options = {"use_safetensors": True}
        with _friendly(self.name):
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
    return ModelFiles(name, load_fast_tokenizer(name), _identity(name), device, dtype)


def load_fast_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model; InputError when there is none."""
    source, options = _source(name)
    if not options and (file := cached_file(source, TOKENIZER, **_QUIETLY)):
        read_tokenizer(Path(file))  # says what is wrong with it
    with _friendly(name):
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
    source, options = _source(name)
    with _friendly(name):
        return AutoConfig.from_pretrained(source, trust_remote_code=False, **options)


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
        raise InputError(_odd_head(type(model).__name__))
    return rows


def check_head(name: str, config: Any) -> None:
    """Raise InputError where the configuration tells that `label_head` will; loads no weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling", "logits_soft_cap")
    said = {key: getattr(config.get_text_config(), key, None) for key in scaled}
    head = model.get_output_embeddings()
    odd = [f"{key} = {value:g}" for key, value in said.items() if value not in (None, 1)]
    odd += ["a bias"] if getattr(head, "bias", None) is not None else []
    if odd:
        raise InputError(f"{name}: {_odd_head(type(model).__name__)} (it has {', '.join(odd)})")


def _odd_head(kind: str) -> str:
    return (
        f"the output head of {kind} is more than a matrix (bias, scaling or soft cap), so its "
        "labels cannot be folded into a classifier exactly"
    )


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
        refuse_folder(name, path)
        return str(path), {}
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: no such folder")
    found = resolve_model(name)
    if Path(found).is_dir():  # what was fetched earlier, where the hub cannot be reached
        refuse_folder(name, Path(found))
    else:
        _refuse_of_hub(found)
    return found, {}


@functools.cache  # the files of a name of the hub are the same for a whole run
def _refuse_of_hub(name: str) -> None:
    with _friendly(name):
        said, _ = PretrainedConfig.get_config_dict(name)
    refuse_code(name, said)
    refuse_adapter(name, name)


def _plain_gguf() -> dict[str, Any]:
    # transformers 5 keeps GGUF weights packed unless told otherwise
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}


@contextlib.contextmanager
def _friendly(name: str) -> Iterator[None]:
    try:
        yield
    except EdgecdError:
        raise
    except Exception as bad:  # transformers and those below it have errors of their own
        if "use_safetensors=True" in str(bad):
            raise InputError(
                f"{name} has no safetensors on the hub, and pickles can run code when they are "
                f"read: convert it where you trust it, once, with {conversion(name)}"
            ) from None
        raise InputError(f"cannot load {name}: {first_line(bad)}") from bad


def _identity(name: str) -> str:
    """A fingerprint of every byte that the model is loaded from."""
    source, options = _source(name)
    if options:
        return file_hash(Path(source) / options["gguf_file"])[:16]
    if Path(name).expanduser().is_dir():
        return folder_identity(Path(source))
    # A commit of the hub is a hash over all of its files; a snapshot's folder has its name
    if Path(source).is_dir():
        return Path(source).name
    return str(load_model_config(name)._commit_hash or name)
