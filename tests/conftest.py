"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# The shapes that tensor code states are checked in tests, and only there.
TENSOR_CODE = ("encoders", "fusion", "heads", "losses", "model", "tensors", "training.loop")
install_import_hook([f"medfuse.{name}" for name in TENSOR_CODE], "beartype.beartype")

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The read-only folder of real data; tests that use it carry the marker `realdata` and are skipped without it."""
    told = os.environ.get("MEDFUSE_SHARED_DATA")
    folder = Path(told) if told else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set MEDFUSE_SHARED_DATA, or lay it at ../shared/data beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the user's cache folder."""
    monkeypatch.setenv("MEDFUSE_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source tree under test."""
    return CHECKOUT


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of random weights and a word list, small enough for every test."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = [
        "the",
        "of",
        "year",
        "old",
        "man",
        "woman",
        "with",
        "no",
        "history",
        "memory",
        "loss",
        "lesion",
        "in",
        "left",
        "lung",
        "aged",
        ".",
        ",",
        "-",
        "/",
        "'s",
    ]
    pieces = [*"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *pieces]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(dict.fromkeys(vocabulary))})
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return folder
