"""Encodings of short and long reports come out right, to the letter; what is no text is refused."""

import pytest

from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.decoding import decode

WESTERN = [
    "Pas d'épanchement pleural.",
    "Méningiome",
    "Résultat : nodule à gauche. Épanchement péricardique modéré. Conclusion : embolie pulmonaire écartée.",
    "Kein Pleuraerguß.",
    "Größe",
    "Befund: Rundherd im rechten Oberlappen, Herz normal groß, Gefäße frei.",
    "Pequeño nódulo",
    "Impresión: no se observa derrame. Nódulo en lóbulo superior derecho, tamaño 8 mm.",
]
CHINESE = [
    "双肺未见结节",
    "影像所见：双肺纹理增多，右上肺见一结节，大小约8mm。诊断意见：右上肺结节，建议随访。",
    "胸部CT平扫：未见异常",
]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", WESTERN)
def test_western_reports(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "r") == text


@pytest.mark.parametrize("encoding", ["gb18030", "gb2312", "utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", CHINESE)
def test_chinese_reports(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "r") == text


def test_a_named_encoding_is_taken() -> None:
    assert decode("病歴：頭痛".encode("shift-jis"), "r", "shift-jis") == "病歴：頭痛"
    assert decode("Größe".encode("latin-1"), "r", "latin-1") == "Größe"


@pytest.mark.parametrize(
    ("data", "encoding", "reason"),
    [
        ("病歴：頭痛".encode("shift-jis"), None, "UNKNOWN_ENCODING"),
        ("Größe".encode("latin-1"), "utf-8", "UNKNOWN_ENCODING"),
        (b"x", "no-such-codec", "UNKNOWN_ENCODING"),
        (b"HISTORY: x\x00y", None, "NOT_TEXT"),
        ("HISTORY: x".encode("utf-32"), None, "NOT_TEXT"),
        (bytes(range(1, 32)) * 10, None, "NOT_TEXT"),
        (b"%PDF-1.4\n\x81\x8d\x8f\x00", None, "NOT_TEXT"),
    ],
)
def test_what_is_refused(data: bytes, encoding: str | None, reason: str) -> None:
    with pytest.raises(UnreadableReportError) as caught:
        decode(data, "r", encoding)
    assert caught.value.reason == reason
