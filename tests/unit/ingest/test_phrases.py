"""The notation of phrases: what it matches, what it leaves alone, and what is refused."""

import re

import pytest

from medfuse.ingest.reports.phrases import LONGEST_PHRASE, Phrases, fold, pattern_of, simplest


def found(phrase: str, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in Phrases({phrase: 1}).find(fold(text))]


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("nodule", "A Nodule, nodules", ["Nodule"]),
        ("nodul*", "Nodule, nodules, nodular", ["Nodule", "nodules", "nodular"]),
        ("*erguss", "Pleuraerguss und Erguss", ["Pleuraerguss", "Erguss"]),
        ("pleural mass|masses", "pleural  masses\nand pleural\nmass", ["pleural  masses", "pleural\nmass"]),
        ("no|without evidence of?", "no evidence of x. without evidence", ["no evidence of", "without evidence"]),
        ("the? heart", "the heart, heart", ["the heart", "heart"]),
        ("enlarged ... node", "enlarged left hilar lymph node", ["enlarged left hilar lymph node"]),
        ("enlarged ... node", "enlarged. A node", []),
        ("enlarged ... node", "enlarged a b c d e node", []),
        ("follow-up", "follow-up follow up followup", ["follow-up", "follow up", "followup"]),
        ("épanchement", "EPANCHEMENT, épanchement", ["EPANCHEMENT", "épanchement"]),
        (": none .", "Nodule: none. Mass - none\nEdema: none seen", [": none", " - none"]),
        (", but", "x, but y", [", but "]),
        ("s/p", "S/P repair", ["S/P"]),
        ("?", "Mass? Nodule", ["?"]),
        ("结节", "右肺结节影", ["结节"]),
        ("淋巴结...肿大", "纵隔淋巴结未见明显肿大。肿大", ["淋巴结未见明显肿大"]),
        ("淋巴结...肿大", "淋巴结。心脏肿大", []),
    ],
)  # fmt: skip
def test_what_a_phrase_matches(phrase: str, text: str, expected: list[str]) -> None:
    assert [one.strip() for one in found(phrase, text)] == [one.strip() for one in expected]


def test_the_longest_phrase_counts() -> None:
    phrases = Phrases({"no": "a", "no change in": "b", "evidence of": "c", "no evidence of": "d"})
    assert [hit.meaning for hit in phrases.find(fold("No change in size. No evidence of mass, no"))] == ["b", "d", "a"]


@pytest.mark.parametrize(
    "phrase",
    [
        "",
        "  ",
        "... foo",
        "foo ...",
        "foo| bar",
        "a..b",
        "a*b*c*",
        "a ... b ... c ... d ... e",
        "x" * (LONGEST_PHRASE + 1),
    ],
)
def test_what_is_no_phrase(phrase: str) -> None:
    with pytest.raises(ValueError, match="phrase"):
        pattern_of(phrase)


@pytest.mark.parametrize("phrase", ["a.c", "(a+)+", "[a-z]", "a{3}", "^a$", r"\w", "a*b*c"])
def test_regular_expressions_are_words(phrase: str) -> None:
    """Whatever is written, nothing of it reaches the engine as an operator but `*`."""
    compiled = re.compile(pattern_of(phrase))
    assert compiled.search("abc xyz aaa") is None or "*" in phrase


@pytest.mark.timeout(20)
def test_the_worst_phrases_come_to_an_end_on_the_worst_texts() -> None:
    phrases = Phrases({"*a*b ... *a*c ... *a*d ... e": 1, "a ... a ... a ... b": 2})
    for text in ("a " * 20_000, "a" * 100_000, "ab" * 19 + " " + ("a" * 39 + "b ") * 2_000, "," * 50_000, " " * 50_000):
        assert list(phrases.find(text)) == []


def test_folding_keeps_every_offset() -> None:
    text = "ÉPANCHEMENT İstanbul ß ﬁ ： ５ ½ œ\u00a0x"
    assert len(fold(text)) == len(text)
    assert fold("É：Ａ５\u00a0") == "e:a5 "


def test_the_simplest_wording() -> None:
    assert simplest("is|are not seen|found of?") == "is not seen"
