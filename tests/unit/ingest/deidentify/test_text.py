"""Identities in free text, in several languages; and medical text that stays."""

import pytest

from medfuse.ingest.deidentify.text import Identities, Scrubber


def scrubbed(text: str, names: tuple[str, ...] = (), phrases: tuple[str, ...] = ()) -> str:
    identities = Identities()
    for name in names:
        identities.add_name(name)
    for phrase in phrases:
        identities.add_phrase(phrase)
    return Scrubber(identities, lambda uid: f"2.25.{len(uid)}").scrub(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Karl Stein was seen.", "Mr. [NAME] was seen."),
        ("Patient: Quixana, Zebulon", "Patient: [NAME]"),
        ("Herr Dr. med. Karl von Stein, Befund vom 12.03.2019.", "Herr Dr. med. [NAME], Befund vom [DATE]."),
        ("geb. am 02.03.1951.", "geb. am [DATE]."),
        ("Musterstraße 12, 80331 München", "[ADDRESS], [ADDRESS]"),
        ("Mme Dupont, née le 2 mars 1951, 12 rue de la Paix", "Mme [NAME], née le [DATE], [ADDRESS]"),
        ("Paciente: José García, DNI: 12345678Z, 2 de marzo de 1951", "Paciente: [NAME], DNI: [ID], [DATE]"),
        ("姓名：张三 检查日期：2019年3月2日 住院号：ZY12345", "姓名：[NAME] 检查日期：[DATE] 住院号：[ID]"),
        ("Electronically signed by Julius Hibbert, MD", "Electronically signed by [NAME]"),
        ("MRN: 4711-A, SSN 123-45-6789", "MRN: [ID], SSN [ID]"),
        ("tel. +49 89 1234567 or (555) 123-4567", "tel. [PHONE] or [PHONE]"),
        ("a.b@example.org, https://example.org/x?id=1", "[EMAIL], [URL]"),
        ("742 Evergreen Terrace, Springfield, IL 62704", "[ADDRESS], [ADDRESS]"),
        ("on March 3rd, 2019 and 2019-03-02T10:11:12 and 20190302", "on [DATE] and [DATE] and [DATE]"),
        ("born in 1951", "[DATE]"),
        ("a 94-year-old man, 101 Jahre", "a 90-year-old man, 90 Jahre"),
        ("study 1.2.840.113619.2.55.3.4 of 1.2.3", "study 2.25.23 of 1.2.3"),
    ],
)
def test_what_looks_like_an_identity(text: str, expected: str) -> None:
    assert scrubbed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A 12.5 x 10.3 x 8 mm nodule in the right upper lobe (series 3, image 120/300), 1.2.3.",
        "Memory loss since 2015. A 72-year-old woman, T2 lesion at L4/5, WHO grade 2/4, image 3/12.",
        "Patient: denies headache. The patient is stable. Assessment of this Patient:  She is well.",
        "Slices of 1.25 mm, 120 kV, 512 x 512, b = 1000 s/mm2, TR 9.8 ms, 3.0 T; may 12 mm be a vessel.",
        "Keine Blutung. Der Patient ist 64 Jahre alt. Kein Anhalt für Metastasen, SUV max 12.4.",
        "Radiologist: none. Physician: see note.",
        "左肺上叶见结节，大小约12mm×10mm。",
    ],
)
def test_medical_text_stays(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Müller^Hans-Peter^^Dr", "MUELLER, hans-peter; Muller; Müllers", "[NAME], [NAME]; [NAME]; Müllers"),
        ("Quixaña^Zebulon", "zebulon quixana QUIXAÑA", "[NAME] [NAME] [NAME]"),
        ("Li^Wei", "Li came; the li of LI", "[NAME] came; the li of [NAME]"),
        ("王^小东=Wang^XiaoDong", "患者小东说 Wang", "患者[NAME]说 [NAME]"),
        ("Anonymous^Patient", "anonymous patient", "anonymous patient"),
        ("O'Brien^Ann", "O'Brien and Ann, annual", "[NAME] and [NAME], annual"),
    ],
)
def test_names_of_the_headers(name: str, text: str, expected: str) -> None:
    assert scrubbed(text, names=(name,)) == expected


def test_phrases_of_the_headers_in_any_spacing() -> None:
    text = "at SAINT  ELIGIUS, no. ab-12_x; ab-12_xy; 123"
    assert scrubbed(text, phrases=("Saint Eligius", "AB-12_X", "123")) == "at [ID], no. [ID]; ab-12_xy; 123"


def test_the_counts_say_what_was_found() -> None:
    identities = Identities()
    identities.add_name("Quixana^Zebulon")
    _, counts = Scrubber(identities, str).scrub("Zebulon Quixana, 2019-03-02, a@b.org")
    assert counts == {"NAME": 2, "DATE": 1, "EMAIL": 1}


def test_hostile_text_ends_soon() -> None:
    for text in ("A." * 20000, "Dr. " * 20000, "1-" * 20000, "a@" * 20000, "Patient: " + "A" * 40000, "0 " * 20000):
        scrubbed(text)


def test_identities_that_are_regular_expressions_are_text() -> None:
    assert scrubbed("a (.*) b", phrases=("(.*)x",), names=("[a-z]+^.*",)) == "a (.*) b"
