"""Mentions of findings, their labels, and the lexica that ship with medfuse, on the made studies' reports."""

from pathlib import Path

import pytest

from medfuse.config.lexicon import load_lexicon
from medfuse.domain import LabelValue, SectionName
from medfuse.errors import ConfigError
from medfuse.ingest.reports.cue_languages import CUES
from medfuse.ingest.reports.lexicon import FindingTerms, Lexicon
from medfuse.ingest.reports.mention import labels_of, mentions
from medfuse.phantom.plan import plan_studies
from medfuse.phantom.write import FAMILIES

PRESENT, ABSENT, UNCERTAIN, NOT_ASSESSED = LabelValue
CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "labels"


def lexicon(**options: object) -> Lexicon:
    terms = FindingTerms(
        terms={"en": ("nodule|nodules",), "de": ("rundherd*",)},
        absent={"en": ("lungs are clear",)},
        exclude={"en": ("thyroid nodule",)},
        **options,  # type: ignore[arg-type]
    )
    return Lexicon(findings={"nodule": terms})


def label(text: str, **options: object) -> LabelValue:
    chosen = lexicon(**options)
    return labels_of(mentions(text, chosen), chosen)["nodule"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("FINDINGS: No nodule.\nIMPRESSION: Nodule.", PRESENT),
        ("FINDINGS: No nodule. Possible nodule.", UNCERTAIN),
        ("FINDINGS: No nodules.", ABSENT),
        ("FINDINGS: Normal.", NOT_ASSESSED),
        ("HISTORY: Nodule.\nFINDINGS: Normal.", NOT_ASSESSED),
        ("FINDINGS: History of nodule.", NOT_ASSESSED),
        ("FINDINGS: Mother with a nodule.", NOT_ASSESSED),
        ("FINDINGS: Follow-up CT to rule out a nodule.", NOT_ASSESSED),
        ("FINDINGS: Thyroid nodule.", NOT_ASSESSED),
        ("FINDINGS: The lungs are clear.", ABSENT),
        ("BEFUND: Kein Rundherd.", ABSENT),
        ("BEFUND: Rundherd in der linken Lunge.", PRESENT),
        ("BEFUND: Nodule in der Lunge links, mit dem Herd.", PRESENT),
        ("", NOT_ASSESSED),
    ],
)
def test_labels(text: str, value: LabelValue) -> None:
    assert label(text) is value


def test_what_a_finding_says_of_itself_counts() -> None:
    assert label("FINDINGS: History of nodule.", count_history=True) is PRESENT
    assert label("FINDINGS: Mother with a nodule.", count_relatives=True) is PRESENT
    assert label("FINDINGS: Possible nodule.", uncertain_as=PRESENT) is PRESENT
    assert label("HISTORY: nodule", sections=(SectionName.HISTORY,)) is PRESENT


def test_unmentioned_may_count_as_absent() -> None:
    chosen = Lexicon(findings=lexicon().findings, unmentioned=ABSENT)
    assert labels_of(mentions("FINDINGS: Normal.", chosen), chosen) == {"nodule": ABSENT}


def test_a_mention_knows_its_place_in_the_text() -> None:
    text = "HISTORY: cough\nFINDINGS: No nodule in the left lung."
    (found,) = mentions(text, lexicon())
    assert (text[found.start : found.end], found.section, found.assertion.value) == ("nodule", "FINDINGS", ABSENT)
    assert found.assertion.cues == ("no",)


def test_no_cue_reaches_into_the_next_section_and_headings_are_no_mentions() -> None:
    found = mentions("TECHNIQUE: no contrast\nFINDINGS\nnodule\nNODULES:\nx", lexicon())
    assert [one.assertion.value for one in found if one.section is SectionName.FINDINGS] == [PRESENT]


@pytest.mark.parametrize("name", ["chest_ct", "brain_mr"])
def test_a_lexicon_that_ships_has_every_language_for_every_finding(name: str) -> None:
    shipped = load_lexicon(CONFIGS / f"{name}.yaml")
    assert {finding for finding, terms in shipped.findings.items() if set(terms.terms) != set(CUES)} == set()
    assert set(FAMILIES[name].findings) <= set(shipped.findings)


@pytest.mark.parametrize("name", ["chest_ct", "brain_mr"])
def test_every_term_is_found_and_negated(name: str) -> None:
    """Each phrase of a lexicon, alone in a sentence and behind a negation of its language."""
    shipped = load_lexicon(CONFIGS / f"{name}.yaml")
    negations = {"en": "no", "de": "kein", "fr": "pas de", "es": "sin", "zh": "未见"}
    wrong = []
    for finding, terms in shipped.findings.items():
        for language, phrases in terms.terms.items():
            for phrase in phrases:
                words = " ".join(t.split("|")[0].replace("*", "") for t in phrase.split() if t[-1:] != "?").replace(
                    "...", ""
                )
                section = shipped.sections_of(finding)[0]
                for text, value in ((words, PRESENT), (f"{negations[language]} {words}", ABSENT)):
                    found = mentions(f"{section}:\n{text}.", shipped, language=language)
                    if labels_of(found, shipped)[finding] not in (value, UNCERTAIN):
                        wrong.append((finding, text))
    assert wrong == []


@pytest.mark.parametrize(
    ("chest", "labels"),
    [
        (
            "Befund: Kein Pleuraerguss. Rundherd im rechten Oberlappen. Herz nicht vergrößert. Beurteilung: Emphysem.",
            {"pleural_effusion": ABSENT, "nodule": PRESENT, "cardiomegaly": ABSENT, "emphysema": PRESENT},
        ),
        (
            "RÉSULTATS : Pas d'épanchement pleural. Nodule du lobe supérieur. Cœur de taille normale.\n"
            "CONCLUSION : Atélectasie probable.",
            {"pleural_effusion": ABSENT, "nodule": PRESENT, "cardiomegaly": ABSENT, "atelectasis": UNCERTAIN},
        ),
        (
            "HALLAZGOS: No se observa derrame pleural ni pericárdico. Nódulo pulmonar. Sin adenopatías.",
            {"pleural_effusion": ABSENT, "nodule": PRESENT, "lymphadenopathy": ABSENT},
        ),
        (
            "检查所见：双侧胸腔未见积液，右肺上叶见一结节，纵隔未见肿大淋巴结。心影不大。\n诊断意见：肺气肿。",
            {"nodule": PRESENT, "lymphadenopathy": ABSENT, "cardiomegaly": ABSENT, "emphysema": PRESENT},
        ),
        (
            "FINDINGS: Heart contour and size are normal. Pericardial effusion was not observed. A nonspecific nodule. "
            "No lymph node with pathological size was detected. Calcific plaques in the aorta and coronary arteries.",
            {
                "cardiomegaly": ABSENT,
                "pericardial_effusion": ABSENT,
                "pleural_effusion": NOT_ASSESSED,
                "nodule": PRESENT,
                "lymphadenopathy": ABSENT,
                "coronary_artery_wall_calcification": PRESENT,
            },
        ),
    ],
)
def test_chest_reports_in_every_language(chest: str, labels: dict[str, LabelValue]) -> None:
    shipped = load_lexicon(CONFIGS / "chest_ct.yaml")
    found = labels_of(mentions(chest, shipped), shipped)
    assert {name: found[name] for name in labels} == labels


@pytest.mark.parametrize("name", ["chest_ct", "brain_mr"])
def test_labels_agree_with_the_truth_of_the_made_studies(name: str) -> None:
    """Where a report tells, its label is the truth; what only FINDINGS tell is not assessed without them."""
    shipped, family = load_lexicon(CONFIGS / f"{name}.yaml"), FAMILIES[name]
    from_history = {finding for finding in family.findings if shipped.findings[finding].sections}
    assessed = 0
    for plan in plan_studies(name, studies=10, seed=3, ages=family.ages, quantities=family.quantities):
        case = family.make(plan)
        found = labels_of(mentions(case.report, shipped), shipped)
        for finding, truth in case.labels.items():
            if finding not in from_history and not plan.states_answer:
                assert found[finding] is NOT_ASSESSED, finding
            elif found[finding] is not NOT_ASSESSED:
                assert found[finding] is (PRESENT if truth else ABSENT), (finding, plan.index)
                assessed += 1
            else:
                assert finding == "high_grade_risk", finding
    assert assessed > 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("findings: {}", "findings"),
        ("findings:\n  a:\n    terms:\n      xx: [foo]", "unknown language 'xx'"),
        ("findings:\n  a:\n    terms:\n      en: []", "terms in at least one language"),
        ("findings:\n  a:\n    terms:\n      en: ['... foo']", "not a phrase"),
        ("findings:\n  a:\n    terms:\n      en: ['" + "x" * 400 + "']", "at most 300 characters"),
        ("findings:\n  a:\n    term:\n      en: [foo]", "term"),
        ("sections: [FINDING]\nfindings:\n  a:\n    terms:\n      en: [foo]", "sections"),
    ],
)
def test_a_lexicon_with_a_mistake_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "lexicon.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_lexicon(path)
    assert said in str(caught.value)
