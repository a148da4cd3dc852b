"""What a model takes on disk."""

from __future__ import annotations

from pathlib import Path

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


def model_disk_bytes(name: str) -> int | None:
    """Bytes of the weight files and the tokenizer; None when the hub's cache does not show them."""
    path = Path(name).expanduser()
    if path.is_file():  # a GGUF file holds its tokenizer
        return path.stat().st_size
    folder = path if path.is_dir() else _snapshot(name)
    if folder is None:
        return None
    weights = list(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
    tokenizer = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    return sum(file.stat().st_size for file in (*weights, *tokenizer)) if weights else None


def _snapshot(name: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        return None
