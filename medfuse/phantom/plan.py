"""Who is examined when, and which files come out odd: decided for the whole set before a voxel is made.

Shares (missing reports, missing sequences, compression) are met exactly, not on average, and clinical quantities are
spread evenly, so that a demo of 40 studies is not at the mercy of a draw.
"""

import uuid
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from medfuse.seeding import stream

Sex = Literal["F", "M"]

FOLLOW_UPS = 0.10
"""Share of the studies that are a patient's second."""
WITHOUT_REPORT = 0.08
STATING_ANSWER = 0.50
COMPRESSED = 0.10
LACKING_SERIES = 0.10

_NAMESPACE = uuid.UUID("6a1d3b52-8c1e-5a0f-9a53-5d1c1f5f2b7a")

FICTION: dict[Sex, tuple[str, ...]] = {
    "F": (
        "Bennet^Elizabeth",
        "Brooke^Dorothea",
        "Karenina^Anna",
        "Eyre^Jane",
        "Dashwood^Elinor",
        "Havisham^Amelia",
        "Everdene^Bathsheba",
        "Pyncheon^Hepzibah",
        "Lescaut^Fantine",
        "Durbeyfield^Tess",
        "Ladislaw^Rosamond",
        "Archer^Isabel",
        "Linton^Catherine",
        "Rougon^Adélaïde",
    ),
    "M": (
        "Pickwick^Samuel",
        "Copperfield^David",
        "Darcy^Fitzwilliam",
        "Valjean^Jean",
        "Casaubon^Edward",
        "Raskolnikov^Rodion",
        "Passepartout^Jean",
        "Heathcliff^Hareton",
        "Micawber^Wilkins",
        "Quatermain^Allan",
        "Harker^Jonathan",
        "Bovary^Charles",
        "Oblomov^Ilya",
        "Lindenbrock^Otto",
    ),
}
"""Names of characters of old novels: no patient's, and rare enough to be recognised where they must not appear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A patient who does not exist.

    Args:
        index: Position among the patients; names the random streams of the anatomy.
        identifier: Patient ID (0010,0020).
        name: Patient's Name (0010,0010).
        sex: Patient's Sex (0010,0040).
        birth_date: Patient's Birth Date (0010,0030).
        quantiles: One number in [0, 1) a clinical quantity of the family, spread evenly over the patients.
    """

    index: int
    identifier: str
    name: str
    sex: Sex
    birth_date: date
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """One study before it is made.

    Args:
        seed: The seed of the whole set.
        index: Position among the studies; names the random streams of noise and wording.
        patient: Whose.
        visit: 0 for a first study, 1 for a follow-up.
        taken_on: Study Date (0008,0020).
        taken_at: Study Time (0008,0030).
        prior_on: Date of the patient's earlier study, if any.
        key: The part of every UID that is this study's own.
        directory: Name of the study's folder.
        accession: Accession Number (0008,0050).
        has_report: Whether a report is written.
        states_answer: Whether the report has FINDINGS and IMPRESSION.
        compressed: Whether pixels are RLE Lossless.
        lacks_series: Whether one of the sequences was not taken.
    """

    seed: int
    index: int
    patient: Patient
    visit: int
    taken_on: date
    taken_at: time
    prior_on: date | None
    key: str
    directory: str
    accession: str
    has_report: bool
    states_answer: bool
    compressed: bool
    lacks_series: bool

    @property
    def age(self) -> int:
        """The patient's age at the study, completed years."""
        born, now = self.patient.birth_date, self.taken_on
        return now.year - born.year - ((now.month, now.day) < (born.month, born.day))

    def uid(self, *path: object) -> str:
        """A UID for one thing of this study, the same for the same seed.

        Source: PS3.5 section B.2, UUID derived UID under the root 2.25 (here a name-based UUID, RFC 4122 version 5).
        """
        return derived_uid(self.key, *path)


def derived_uid(*path: object) -> str:
    """A UID that follows from names alone."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, path))).int}"


def plan_studies(
    family: str, *, studies: int, seed: int, ages: tuple[int, int], quantities: int
) -> tuple[StudyPlan, ...]:
    """Decide patients, dates and odd files of a set of studies.

    Args:
        family: Name of the family, part of every random stream.
        studies: How many; at least 1.
        seed: The seed of the whole set.
        ages: Youngest and oldest age at a first study, years.
        quantities: How many clinical quantities the family draws besides age.
    """
    follow_ups = round(studies * FOLLOW_UPS)
    patients = _patients(family, studies - follow_ups, seed, ages, quantities)
    first = [(patient, 0) for patient in patients]
    second = [(patient, 1) for patient in patients[:: max(1, len(patients) // max(1, follow_ups))][:follow_ups]]
    rng = stream(seed, family, "files")
    flags = [_share(rng, studies, part) for part in (1 - WITHOUT_REPORT, STATING_ANSWER, COMPRESSED, LACKING_SERIES)]
    return tuple(
        _study(family, seed, index, patient, visit, tuple(bool(flag[index]) for flag in flags))
        for index, (patient, visit) in enumerate(first + second)
    )


def _share(rng: np.random.Generator, count: int, share: float) -> NDArray[np.bool_]:
    """Exactly the rounded share of `count` flags set, in random places."""
    return np.asarray(rng.permutation(count) < round(count * share))


def _patients(family: str, count: int, seed: int, ages: tuple[int, int], quantities: int) -> tuple[Patient, ...]:
    spread = qmc.Halton(d=quantities + 2, rng=stream(seed, family, "patients")).random(count)
    return tuple(_patient(family, seed, index, ages, row.tolist()) for index, row in enumerate(spread))


def _patient(family: str, seed: int, index: int, ages: tuple[int, int], row: list[float]) -> Patient:
    rng = stream(seed, family, "patient", index)
    sex: Sex = "F" if row[0] < 0.5 else "M"
    age = ages[0] + row[1] * (ages[1] + 1 - ages[0])
    return Patient(
        index=index,
        identifier=f"MF{rng.integers(16**8):08X}",
        name=FICTION[sex][int(rng.integers(len(FICTION[sex])))],
        sex=sex,
        birth_date=_first_date(family, seed, index) - timedelta(days=int(age * 365.25) + 1),
        quantiles=tuple(row[2:]),
    )


def _first_date(family: str, seed: int, patient: int) -> date:
    return date(2021, 1, 4) + timedelta(days=int(stream(seed, family, "date", patient).integers(900)))


def _study(family: str, seed: int, index: int, patient: Patient, visit: int, flags: tuple[bool, ...]) -> StudyPlan:
    rng = stream(seed, family, "study", index)
    first_on = _first_date(family, seed, patient.index)
    later = timedelta(days=int(rng.integers(150, 400)))
    taken_at = time(int(rng.integers(7, 19)), int(rng.integers(60)), int(rng.integers(60)))
    has_report, states_answer, compressed, lacks_series = flags
    return StudyPlan(
        seed=seed,
        index=index,
        patient=patient,
        visit=visit,
        taken_on=first_on + later if visit else first_on,
        taken_at=taken_at,
        prior_on=first_on if visit else None,
        key=f"{family}/{seed}/{index}",
        directory=f"{rng.integers(16**10):010x}",
        accession=f"A{rng.integers(10**9):09d}",
        has_report=has_report,
        states_answer=has_report and states_answer,
        compressed=compressed,
        lacks_series=lacks_series,
    )
