"""Bytes of a report -> text, by rules that give the same answer for one word and for a page.

UTF-8 where it decodes (other text hardly ever does), UTF-16 with a byte order mark or by its zero bytes, GB18030 where
the bytes above ASCII come in pairs of the common Chinese characters, else Windows-1252, which holds every printable
character of Latin-1. What fits none of them is refused, not guessed: one wrong letter turns a heading into a word.

charset-normalizer 3.5 was tried: it ranks code pages by how probable the text looks, and changed letters in 7 of 11
short French, German, Spanish and Chinese reports that are not UTF-8 (`tests/unit/ingest/test_decoding.py` has them;
these rules change none). Other code pages are named by the caller.
"""

import codecs
import re

from medfuse.errors import UnreadableReportError

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x7f]")
_COMMON_PAIR = re.compile(rb"[\xa1-\xa9\xb0-\xf7][\xa1-\xfe]")
_COMMON_SHARE = 0.9
_HANZI_SHARE = 0.6
_ZERO_SHARE = 0.3


def decode(data: bytes, name: str, encoding: str | None = None) -> str:
    """The text of a report.

    Args:
        data: The bytes of the file.
        name: What to call the file in a message.
        encoding: The code page where it is known, as Python names it.

    Raises:
        UnreadableReportError: The bytes are not text (`NOT_TEXT`), or in another code page (`UNKNOWN_ENCODING`).
    """
    for candidate in (encoding,) if encoding else _candidates(data):
        try:
            text = data.decode(candidate)
        except UnicodeDecodeError:
            continue
        except LookupError as error:
            raise UnreadableReportError(
                f"{name}: the encoding {candidate!r} is unknown; name one of Python's", reason="UNKNOWN_ENCODING"
            ) from error
        if "\0" in text or len(_CONTROL.findall(text)) > len(text) // 50:
            raise UnreadableReportError(f"{name}: binary data, expected text; save it as UTF-8", reason="NOT_TEXT")
        return text.removeprefix("\ufeff")
    expected = encoding or "UTF-8, UTF-16, GB18030 or Windows-1252"
    raise UnreadableReportError(
        f"{name}: not {expected}; save it as UTF-8, or name its encoding",
        reason="NOT_TEXT" if b"\0" in data else "UNKNOWN_ENCODING",
    )


def _candidates(data: bytes) -> tuple[str, ...]:
    """The encodings to try, the likeliest first."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return () if data.startswith(codecs.BOM_UTF32_LE) else ("utf-16",)
    if (wide := _wide(data)) is not None:
        return (wide,)
    return ("utf-8-sig", "gb18030", "cp1252") if _looks_chinese(data) else ("utf-8-sig", "cp1252")


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark, told by ASCII characters, every second byte of which is zero."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    least = len(data) // 2 * _ZERO_SHARE
    if len(data) % 2 or not (even or odd):
        return None
    if odd >= least and not even:
        return "utf-16-le"
    return "utf-16-be" if even >= least and not odd else None


def _looks_chinese(data: bytes) -> bool:
    """Whether the bytes above ASCII are pairs of GB2312's rows, most of them characters and not marks.

    Letters with accents stand alone between ASCII letters; pairs of them are rare.
    """
    pairs = common = hanzi = 0
    for run in re.findall(rb"[\x80-\xff]+", data):
        if len(run) % 2:
            pairs += len(run) // 2 + 1
            continue
        for at in range(0, len(run), 2):
            pair = run[at : at + 2]
            pairs += 1
            common += _COMMON_PAIR.fullmatch(pair) is not None
            hanzi += 0xB0 <= pair[0] <= 0xD7  # the rows of the common characters; small letters with accents are above
    return pairs > 0 and common >= _COMMON_SHARE * pairs and hanzi >= _HANZI_SHARE * pairs
