"""Any encoder of the transformers library, by local path or hub name, with numbers read as numbers."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medfuse.encoders.text.base import TEXT_ENCODERS, TextEncoder
from medfuse.encoders.text.numbers import NumberEmbedding
from medfuse.encoders.text.subwords import load_model, load_tokenizer, sub_words
from medfuse.tensors import ModalityFeatures, TextTokens


@TEXT_ENCODERS.register("transformer")
class TransformerTextEncoder(TextEncoder):
    """A pre-trained transformer, a projection to the token width, and an embedding of number values.

    Weights that are not trained are no part of the state: a checkpoint keeps their hash (`weights_sha256`) and not
    90 MB of them. With `lora` it keeps the low-rank matrices alone.

    Args:
        width: Width of a token.
        weights: `minilm`, which ships with medfuse, or a local folder, or a hub name (safetensors only).
        tuning: `frozen` leaves the transformer as it is; `lora` trains low-rank changes of its linear maps; `full`
            trains it.
        lora_rank: Rank of those changes.
        numbers: Read numbers by value.
        max_tokens: Longer texts are cut.
        dropout: On the projected tokens.

    Raises:
        ConfigError: The weights cannot be loaded.

    Source: Hu et al. 2022, "LoRA" (the peft library's).
    """

    def __init__(
        self,
        width: int,
        /,
        *,
        weights: str = "minilm",
        tuning: Literal["frozen", "lora", "full"] = "frozen",
        lora_rank: int = 8,
        numbers: bool = True,
        max_tokens: int = 256,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.tuning = tuning
        self.max_tokens = max_tokens
        self._tokenizer, backbone = load_tokenizer(weights), load_model(weights)
        self.weights_sha256 = _hash(backbone)
        self.project = nn.Linear(backbone.config.hidden_size, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.numbers = NumberEmbedding(width) if numbers else None
        if tuning == "full":
            self.backbone = backbone
            return
        backbone.requires_grad_(False)
        if tuning == "lora":
            backbone, self.lora = _with_lora(backbone, lora_rank)
        # Held outside the module tree: never saved, never moved to training mode.
        self._outside = [backbone.eval()]

    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Sub-words of each text, padded to the longest."""
        return sub_words(self._tokenizer, texts, self.max_tokens)

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
        backbone = self.backbone if self.tuning == "full" else self._outside[0].to(tokens.ids.device)
        with torch.no_grad() if self.tuning == "frozen" else nullcontext():
            return backbone(input_ids=tokens.ids, attention_mask=mask.long()).last_hidden_state  # type: ignore[no-any-return]


def _with_lora(backbone: Any, rank: int) -> tuple[Any, nn.ParameterDict]:
    """The transformer with low-rank changes, and their weights by name."""
    from peft import LoraConfig, inject_adapter_in_model

    changed = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"), backbone)
    trained = {name.replace(".", "_"): p for name, p in changed.named_parameters() if p.requires_grad}
    return changed, nn.ParameterDict(trained)


def _hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
