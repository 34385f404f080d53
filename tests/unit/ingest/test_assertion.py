"""Negation, doubt, history, questions and relatives, mention by mention, in five languages."""

from pathlib import Path

import pytest

from medfuse.domain import LabelValue
from medfuse.ingest.reports.assertion import LANGUAGES, Context, Experiencer, assess
from medfuse.ingest.reports.cue_languages import CUES
from medfuse.ingest.reports.cues import Cue
from medfuse.ingest.reports.languages import language_of
from medfuse.ingest.reports.phrases import pattern_of, simplest
from tests.benchmarks.bench_negation import ask_medfuse, read_cases

PRESENT, ABSENT, UNCERTAIN = LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN


@pytest.mark.parametrize(
    ("language", "text", "word", "value"),
    [
        ("en", "No pleural effusion.", "effusion", ABSENT),
        ("en", "No mass, nodule, or effusion.", "effusion", ABSENT),
        ("en", "No effusion, but a nodule.", "nodule", PRESENT),
        ("en", "No effusion. Nodule.", "Nodule", PRESENT),
        ("en", "No effusion\nCardiomegaly", "Cardiomegaly", PRESENT),
        ("en", "NO EVIDENCE OF PLEURAL EFFUSION, PNEUMOTHORAX OR SUSPICIOUS\nNODULE.", "NODULE", ABSENT),
        ("en", "An effusion was not observed.", "effusion", ABSENT),
        ("en", "Effusion: none.", "Effusion", ABSENT),
        ("en", "Extremities: No edema.", "Extremities", PRESENT),
        ("en", "Extremities: No edema.", "edema", ABSENT),
        ("en", "No change in the nodule.", "nodule", PRESENT),
        ("en", "Non-calcified nodule.", "nodule", PRESENT),
        ("en", "Possible nodule.", "nodule", UNCERTAIN),
        ("en", "A metastasis cannot be excluded.", "metastasis", UNCERTAIN),
        ("de", "Kein Nachweis eines Pleuraergusses.", "Pleuraergusses", ABSENT),
        ("de", "Pleuraerguss nicht nachweisbar.", "Pleuraerguss", ABSENT),
        ("de", "Kein Erguss, jedoch Rundherd.", "Rundherd", PRESENT),
        ("de", "V.a. Pneumonie.", "Pneumonie", UNCERTAIN),
        ("de", "Metastase nicht auszuschließen.", "Metastase", UNCERTAIN),
        ("fr", "Pas d'épanchement pleural.", "épanchement", ABSENT),
        ("fr", "Absence de nodule, mais atélectasie.", "atélectasie", PRESENT),
        ("fr", "Une métastase ne peut être exclue.", "métastase", UNCERTAIN),
        ("es", "Sin evidencia de nódulos ni masas.", "masas", ABSENT),
        ("es", "No hay derrame, pero hay un nódulo.", "nódulo", PRESENT),
        ("es", "No se puede descartar neoplasia.", "neoplasia", UNCERTAIN),
        ("zh", "双肺未见结节，心影增大。", "结节", ABSENT),
        ("zh", "双肺未见结节，心影增大。", "心影增大", PRESENT),
        ("zh", "未见胸腔积液、心包积液。", "心包积液", ABSENT),
        ("zh", "转移不除外。", "转移", UNCERTAIN),
    ],
)
def test_there_not_there_or_perhaps(language: str, text: str, word: str, value: LabelValue) -> None:
    start = text.index(word)
    assert assess(text, start, start + len(word), language).value is value


@pytest.mark.parametrize(
    ("language", "text", "word"),
    [
        ("en", "History of stroke.", "stroke"),
        ("en", "Stroke 5 years ago.", "Stroke"),
        ("de", "Z.n. Lungenembolie.", "Lungenembolie"),
        ("fr", "Antécédent d'embolie.", "embolie"),
        ("es", "Antecedentes de ictus.", "ictus"),
        ("zh", "既往肺炎。", "肺炎"),
    ],
)
def test_history(language: str, text: str, word: str) -> None:
    start = text.index(word)
    assert assess(text, start, start + len(word), language).is_historical


def test_present_illness_and_prior_studies_are_no_history() -> None:
    for text in (
        "HISTORY OF PRESENT ILLNESS: stroke.",
        "Unchanged from the prior CT: stroke.",
        "60 year old man, stroke.",
    ):
        start = text.index("stroke")
        assert not assess(text, start, start + 6).is_historical


@pytest.mark.parametrize(
    ("language", "text", "word"),
    [
        ("en", "Mother with breast cancer.", "cancer"),
        ("en", "Lung cancer in her father.", "cancer"),
        ("en", "FAMILY HISTORY: dementia", "dementia"),
        ("de", "Vater mit Karzinom.", "Karzinom"),
        ("fr", "Cancer chez la mère.", "Cancer"),
        ("es", "Madre con cáncer.", "cáncer"),
        ("zh", "父亲有肺癌。", "肺癌"),
    ],
)
def test_of_a_relative(language: str, text: str, word: str) -> None:
    start = text.index(word)
    assert assess(text, start, start + len(word), language).experiencer is Experiencer.OTHER


def test_the_patient_is_no_relative() -> None:
    text = "Mother with cancer, the patient has a nodule."
    assert assess(text, text.index("nodule"), text.index("nodule") + 6).experiencer is Experiencer.PATIENT


@pytest.mark.parametrize("text", ["Rule out stroke.", "Return if stroke.", "Stroke?"])
def test_questions_and_warnings(text: str) -> None:
    start = text.lower().index("stroke")
    assert assess(text, start, start + 6).is_hypothetical


def test_the_cues_are_told() -> None:
    said = assess("No evidence of stroke.", 15, 21)
    assert said.cues == ("no evidence of|for",)
    assert assess("Stroke.", 0, 6).cues == ()


def test_a_cue_inside_a_mention_hides_none_before_it() -> None:
    text = "There is no change in vision."
    assert Context(text).assess(text.index("change"), len(text) - 1).value is ABSENT


def test_every_language_has_every_kind_of_cue_and_every_phrase_compiles() -> None:
    assert set(LANGUAGES) == {"en", "de", "fr", "es", "zh"}
    for table in CUES.values():
        assert set(table) == set(Cue)
        for phrase in (phrase for phrases in table.values() for phrase in phrases):
            assert pattern_of(phrase)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("No pleural effusion is seen in the left lung.", "en"),
        ("Kein Nachweis eines Pleuraergusses rechts.", "de"),
        ("Pas d'épanchement pleural à droite.", "fr"),
        ("No se observa derrame pleural en el lado derecho.", "es"),
        ("双肺未见结节，CT平扫。", "zh"),
        ("", "en"),
        ("CT", "en"),
    ],
)
def test_the_language_is_told(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.realdata
def test_negation_on_the_negex_sentences(shared_data: Path) -> None:
    """The half that the rules were not written on does as well as the user asks of all."""
    cases = read_cases(shared_data / "negex" / "rsAnnotations-1-120-random.txt")
    said = ask_medfuse(cases)
    assert len(cases) == 2376
    for half in ("dev", "held out"):
        chosen = [n for n, case in enumerate(cases) if case.half == half]
        right = {name: sum(said[name][n] == getattr(cases[n], name) for n in chosen) / len(chosen) for name in said}
        assert right["negated"] >= 0.98
        assert right["historical"] >= 0.93
        assert right["of_other"] >= 0.99


SAID = {
    "NEGATION": lambda said: said.value is ABSENT,
    "UNCERTAIN": lambda said: said.value is UNCERTAIN,
    "HISTORY": lambda said: said.is_historical,
    "HYPOTHETICAL": lambda said: said.is_hypothetical,
    "RELATIVE": lambda said: said.experiencer is Experiencer.OTHER,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cue_says_what_it_stands_for(language: str) -> None:
    """A cue alone with a word: none is hidden by another one of its language."""
    silent = []
    for cue, phrases in CUES[language].items():
        kind, _, side = cue.value.partition("_")
        for phrase in phrases if kind in SAID else ():
            words = simplest(phrase).replace("...", "").removesuffix(" .").replace("*", "")
            text = f"xyzzy {words}." if side == "AFTER" else f"{words} xyzzy."
            start = text.index("xyzzy")
            if not SAID[kind](assess(text, start, start + 5, language)):
                silent.append((cue.value, phrase, text))
    assert silent == []
