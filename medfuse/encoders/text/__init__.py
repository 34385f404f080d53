"""Clinical-text encoders: texts -> sub-words -> tokens, with the numbers in them read as numbers."""

from medfuse.encoders.text.base import TEXT_ENCODERS, TextEncoder
from medfuse.encoders.text.hashing import HashingTextEncoder
from medfuse.encoders.text.recurrent import RecurrentTextEncoder
from medfuse.encoders.text.transformer import TransformerTextEncoder

__all__ = ["TEXT_ENCODERS", "HashingTextEncoder", "RecurrentTextEncoder", "TextEncoder", "TransformerTextEncoder"]
