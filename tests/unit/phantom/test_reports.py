import re

import numpy as np
import pytest

from medfuse.phantom.plan import plan_studies
from medfuse.phantom.reports import (
    NEVER_SMOKED,
    NO_SEIZURES,
    SEIZURE_RELATIVES,
    SEIZURES,
    SMOKED,
    SMOKING_RELATIVES,
    BrainFacts,
    ChestFacts,
    chest_report,
)
from tests.unit.phantom.conftest import Made

HEADING = re.compile(r"^([A-Z ]+):\s", re.MULTILINE)


def _texts(made: Made) -> list[tuple[int, str]]:
    return [
        (n, (made.root / study.directory / "report.txt").read_text())
        for n, study in enumerate(made.truth.studies)
        if study.has_report
    ]


def test_sections_come_in_order_and_answers_only_where_said(made: Made) -> None:
    for n, text in _texts(made):
        headings = [h.replace("CLINICAL ", "") for h in HEADING.findall(text)]
        expected = ["INDICATION", "HISTORY", "TECHNIQUE", "COMPARISON"]
        if made.truth.studies[n].report_states_answer:
            expected += ["FINDINGS", "IMPRESSION"]
        assert headings == expected


def test_the_age_stands_in_the_indication(made: Made) -> None:
    for n, text in _texts(made):
        indication = text.split("HISTORY")[0]
        age = made.truth.studies[n].facts["age"]
        assert re.search(rf"\b{age}(-year-old| y/o| year old| years of age|\b)", indication), indication
        assert re.findall(r"\b\d+\b", indication)[0] == str(age)


def test_ages_are_written_in_several_ways(made: Made) -> None:
    texts = " ".join(text for _, text in _texts(made))
    ways = ["-year-old ", " aged ", " y/o ", " year old ", " years of age"]
    assert sum(way in texts for way in ways) >= 4


def test_history_says_whether_the_patient_smoked(chest: Made) -> None:
    for n, text in _texts(chest):
        study = chest.truth.studies[n]
        pack_years = study.facts["pack_years"]
        told = [phrase.format(n=pack_years) for phrase in SMOKED]
        assert any(phrase in text for phrase in told) == bool(study.labels["smoking_history"])
        assert any(phrase in text for phrase in NEVER_SMOKED) != bool(study.labels["smoking_history"])


def test_history_says_whether_the_patient_had_seizures(brain: Made) -> None:
    for n, text in _texts(brain):
        study = brain.truth.studies[n]
        assert any(phrase in text for phrase in SEIZURES) == bool(study.labels["seizures"])
        assert any(phrase in text for phrase in NO_SEIZURES) != bool(study.labels["seizures"])


def test_relatives_set_traps(chest: Made, brain: Made) -> None:
    assert any(relative in text for _, text in _texts(chest) for relative in SMOKING_RELATIVES)
    assert any(relative in text for _, text in _texts(brain) for relative in SEIZURE_RELATIVES)


def test_what_precedes_the_findings_does_not_tell_them(made: Made) -> None:
    answers = re.compile("nodule|mass|enhanc|lesion|edema|glioma|malignan", re.IGNORECASE)
    for _, text in _texts(made):
        assert not answers.search(text.split("FINDINGS:")[0])


def test_answers_are_right(chest: Made, brain: Made) -> None:
    for n, text in _texts(chest):
        if chest.truth.studies[n].report_states_answer:
            labels = chest.truth.studies[n].labels
            assert ("Solid pulmonary nodule" in text) == bool(labels["nodule"])
            assert ("suspicious for malignancy" in text) == bool(labels["malignancy_risk"])
    for n, text in _texts(brain):
        if brain.truth.studies[n].report_states_answer:
            labels = brain.truth.studies[n].labels
            assert ("Enhancing mass" in text) == bool(labels["enhancing_lesion"])
            assert ("High-grade glioma" in text) == bool(labels["high_grade_risk"])


def test_a_follow_up_names_the_earlier_study() -> None:
    plans = plan_studies("chest_ct", studies=20, seed=3, ages=(45, 82), quantities=3)
    facts = ChestFacts(age=60, sex="F", pack_years=0, nodule_diameter_mm=0.0)
    labels = {"nodule": 0, "smoking_history": 0, "malignancy_risk": 0}
    for plan in plans:
        text = chest_report(np.random.default_rng(0), facts, labels, plan)
        comparison = text.split("COMPARISON:")[1].split("FINDINGS")[0]
        assert ("Study of" in comparison) == bool(plan.visit)


@pytest.mark.parametrize(
    "facts",
    [
        ChestFacts(age=60, sex="F", pack_years=0, nodule_diameter_mm=0.0),
        BrainFacts(age=60, sex="M", seizures=True, core_ml=1.0, edema_ml=2.0),
    ],
)
def test_facts_become_plain_data(facts: ChestFacts | BrainFacts) -> None:
    assert facts.as_dict()["age"] == 60
