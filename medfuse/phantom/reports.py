"""Reports in sections for the made studies: what only text says, and the traps that real text sets.

Traps: the age in several wordings, negations, relatives who have what the patient has not, other numbers, and FINDINGS
with IMPRESSION that give the answer away in about half of the reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from medfuse.phantom.plan import Sex, StudyPlan
from medfuse.phantom.truth import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ChestFacts:
    """What the labels of a chest CT follow from.

    Args:
        age: Years.
        sex: F or M.
        pack_years: 0 for who never smoked.
        nodule_diameter_mm: Of the sphere of the nodule's volume on the SEG; 0 without one.
    """

    age: int
    sex: Sex
    pack_years: int
    nodule_diameter_mm: float

    def as_dict(self) -> dict[str, Fact]:
        """Plain data for `truth.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainFacts:
    """What the labels of a brain MR study follow from.

    Args:
        age: Years.
        sex: F or M.
        seizures: Whether the patient has had seizures.
        core_ml: Volume of the segment `lesion_core` on the SEG, mL.
        edema_ml: Volume of the segment `edema` on the SEG, mL.
    """

    age: int
    sex: Sex
    seizures: bool
    core_ml: float
    edema_ml: float

    def as_dict(self) -> dict[str, Fact]:
        """Plain data for `truth.json`."""
        return asdict(self)


AGES = (
    "{age}-year-old {noun}",
    "{noun} aged {age}",
    "{age} y/o {noun}",
    "{age} year old {noun}",
    "{noun}, {age} years of age",
)
NOUNS: dict[Sex, tuple[str, ...]] = {"F": ("woman", "female"), "M": ("man", "male")}

SMOKED = (
    "Smoker with {n} pack-years.",
    "Former smoker, {n} pack-years.",
    "Smoking history of {n} pack-years.",
    "Current smoker, {n} pack-years.",
)
NEVER_SMOKED = (
    "Never smoker.",
    "Denies smoking.",
    "No history of smoking.",
    "Lifelong non-smoker.",
)
SMOKING_RELATIVES = (
    "Father was a heavy smoker and died of lung cancer.",
    "Mother with a 50 pack-years smoking history.",
    "Spouse is a current smoker.",
    "Brother with lung cancer at 58.",
)
CHEST_REASONS = (
    "with persistent cough",
    "with weight loss of 6 kg",
    "with abnormal chest radiograph",
    "with shortness of breath for 3 weeks",
)
NAMED_NODULES = (
    "for follow-up of a nodule in the {side} {level} lobe",
    "with a known {side} {level} lobe nodule",
    "with a lesion of the {level} lobe on the {side}, seen on radiography",
    "referred for a {side} {level} lobe mass",
)
CHEST_ASIDES = (
    "BMI 27.",
    "Creatinine 0.9 mg/dL.",
    "Hypertension on 2 drugs.",
    "Hip replacement 4 years ago.",
    "SpO2 96 %.",
    "Denies fever.",
)
CHEST_TECHNIQUES = (
    "Helical CT of the chest without contrast, 120 kV.",
    "Low-dose CT of the chest, reconstructed at 7 mm.",
    "CT chest without intravenous contrast.",
)

SEIZURES = (
    "Presented with a generalized seizure.",
    "New-onset seizures.",
    "Two focal seizures in the last month.",
    "Recurrent seizures on levetiracetam 500 mg.",
)
NO_SEIZURES = (
    "Denies seizures.",
    "No history of seizures.",
    "No seizure reported.",
    "Never had a seizure.",
)
SEIZURE_RELATIVES = (
    "Brother with epilepsy.",
    "Mother had seizures since age 40.",
    "Father with a seizure disorder.",
    "Family history of migraine.",
)
BRAIN_REASONS = (
    "with headache for 3 weeks",
    "with left-sided weakness",
    "with personality change",
    "with blurred vision",
)
BRAIN_ASIDES = (
    "Diabetes for 12 years.",
    "MMSE 28/30.",
    "Blood pressure 145/85.",
    "Denies trauma.",
    "Hearing loss, right more than left.",
    "Appendectomy in 1998.",
)
BRAIN_TECHNIQUES = (
    "Multiplanar MRI of the brain before and after 8 mL of gadolinium.",
    "MRI of the brain with T1, T2, FLAIR and post-contrast T1, 5 mm slices.",
    "Brain MRI without and with intravenous contrast.",
)


def chest_report(rng: np.random.Generator, facts: ChestFacts, labels: Mapping[str, int], plan: StudyPlan) -> str:
    """The report of a chest CT.

    Args:
        rng: Chooses the wording.
        facts: What HISTORY tells; every fact that a text-borne label needs is in INDICATION or HISTORY.
        labels: What FINDINGS and IMPRESSION give away when they are there.
        plan: Whether they are there, and the date of the earlier study.
    """
    smoked = _one(rng, SMOKED).format(n=facts.pack_years) if facts.pack_years else _one(rng, NEVER_SMOKED)
    history = _mixed(rng, smoked, SMOKING_RELATIVES, CHEST_ASIDES)
    found, summary = "No pulmonary nodule or mass.", "No suspicious nodule."
    if labels["nodule"]:
        found = f"Solid pulmonary nodule of {facts.nodule_diameter_mm:.0f} mm."
        summary = "Pulmonary nodule, low risk of malignancy."
        if labels["malignancy_risk"]:
            summary = "Pulmonary nodule, suspicious for malignancy. PET/CT advised."
    answer = (f"{found} No pleural effusion. Heart size normal.", summary)
    return _report(rng, facts.age, facts.sex, CHEST_REASONS, history, CHEST_TECHNIQUES, plan, answer)


def named_nodule_report(rng: np.random.Generator, facts: ChestFacts, *, side: str, level: str, plan: StudyPlan) -> str:
    """The report of a chest CT with two nodules, whose indication names one of them.

    Args:
        rng: Chooses the wording.
        facts: What HISTORY tells.
        side: `left` or `right`.
        level: `upper` or `lower`.
        plan: As for `chest_report`.
    """
    reason = _one(rng, NAMED_NODULES).format(side=side, level=level)
    smoked = _one(rng, SMOKED).format(n=facts.pack_years) if facts.pack_years else _one(rng, NEVER_SMOKED)
    history = _mixed(rng, smoked, SMOKING_RELATIVES, CHEST_ASIDES)
    answer = (f"Nodule in the {side} {level} lobe. Second nodule, unchanged. No effusion.", "Two pulmonary nodules.")
    return _report(rng, facts.age, facts.sex, (reason,), history, CHEST_TECHNIQUES, plan, answer)


def brain_report(rng: np.random.Generator, facts: BrainFacts, labels: Mapping[str, int], plan: StudyPlan) -> str:
    """The report of a brain MR study; arguments as for `chest_report`."""
    told = _one(rng, SEIZURES if facts.seizures else NO_SEIZURES)
    history = _mixed(rng, told, SEIZURE_RELATIVES, BRAIN_ASIDES)
    found, summary = "No mass and no abnormal enhancement.", "Normal MRI of the brain."
    if facts.edema_ml > 0:
        found = f"FLAIR hyperintensity of about {facts.edema_ml:.0f} mL without enhancement."
        summary = "Non-enhancing lesion."
    if labels["enhancing_lesion"]:
        found = f"Enhancing mass with surrounding edema of about {facts.edema_ml:.0f} mL."
        summary = "Enhancing intra-axial mass."
    if labels["high_grade_risk"]:
        summary += " High-grade glioma is likely."
    answer = (f"{found} No midline shift. No acute infarct.", summary)
    return _report(rng, facts.age, facts.sex, BRAIN_REASONS, history, BRAIN_TECHNIQUES, plan, answer)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _mixed(rng: np.random.Generator, told: str, relatives: Sequence[str], asides: Sequence[str]) -> str:
    """What matters among what does not, in any order."""
    sentences = [told]
    if rng.random() < 0.35:
        sentences.append(_one(rng, relatives))
    sentences += [asides[int(n)] for n in rng.permutation(len(asides))[: int(rng.integers(0, 3))]]
    return " ".join(sentences[int(n)] for n in rng.permutation(len(sentences)))


def _report(
    rng: np.random.Generator,
    age: int,
    sex: Sex,
    reasons: Sequence[str],
    history: str,
    techniques: Sequence[str],
    plan: StudyPlan,
    answer: tuple[str, str],
) -> str:
    who = _one(rng, AGES).format(age=age, noun=_one(rng, NOUNS[sex]))
    prior = f"Study of {plan.prior_on:%d %B %Y}." if plan.prior_on else _one(rng, ("None.", "None available."))
    sections = [
        ("INDICATION", f"{who[0].upper()}{who[1:]} {_one(rng, reasons)}."),
        (_one(rng, ("HISTORY", "CLINICAL HISTORY")), history),
        ("TECHNIQUE", _one(rng, techniques)),
        ("COMPARISON", prior),
    ]
    if plan.states_answer:
        sections += [("FINDINGS", answer[0]), ("IMPRESSION", answer[1])]
    gap = _one(rng, (" ", "\n"))
    return "\n\n".join(f"{heading}:{gap}{body}" for heading, body in sections) + "\n"
