"""Whether contrast agent was given: wording of many sites and languages, and the agent in the header."""

from pathlib import Path

import pytest

from medfuse.domain import Acquisition, Modality, Series
from medfuse.preprocess.conditions import Contrast
from medfuse.preprocess.contrast import ContrastFrom, contrast_of, said

WITH = """
T1post
t1_mprage_sag_KM
T1w post Gd
AX T1 +C
AX T1 + C FS
Sag C+ BRAVO
T1 SE TRA NACH KM
t1_fl2d_tra_mKM
T1 mKM
AX T1 POST GAD
T1W AXIAL POST
Ax T1 FSE POST
t1ce
T1C
T1Gd
3D T1 TFE +GD
eT1W_3D_TFE_GADO
T1 3D apres injection
T1 EG avec gadolinium
T1 con contraste
SAG T1 CON GADOLINIO
T1 CON CIV contraste
T1增强
AX T1增强
T1 造影
CT Chest with contrast
Abdomen portal venous
Thorax venöse Phase 3.0
ABD ARTERIAL PHASE
t1_space_sag post contrast
T1 MPRAGE Dotarem
T1 tra Gd-DTPA
CE T1 MPRAGE
T1 с контрастом
T1 SE po kontraście
AX T1 FS W CONTRAST
POSTCONTRAST T1
post-contrast T1
MPRAGE_POST
T1+C
t1_tse_fs_tra+km
CECT
T1 TRA +K
"""

WITHOUT = """
T1pre_reg
AX T1 PRE
T1 SE TRA ohne KM
T1 nativ
t1_mprage_nativ
T1 w/o contrast
CT CHEST W/O B30f
T1 WO CONTRAST
T1 without gad
T1 sans injection
T1 sin contraste
T1 senza mdc
T1 -C
T1 AX PRE CONTRAST
T1 PRECONTRAST
pre-contrast T1
T1 PREGAD
NON-CONTRAST CHEST
Thorax NC 1.0
NCCT HEAD
non contrast T1
No contrast
T1平扫
CT 平扫
単純 CT
T1 vor KM
T1 o.KM
T1 без контраста
Unenhanced T1
T1 bez kontrastu
T1 basal
HEAD W-O CONTRAST
"""

UNKNOWN = """
AX T1
AX FLAIR FS
t1_mprage_sag
eT1W_3D_TFE
BRAVO
t2_space_dark-fluid_sag
T1 POSTERIOR FOSSA
AX T1 POST OP
T1 preop
MR BRAIN W/WO
BRAIN WITH AND WITHOUT CONTRAST
T1 W + W/O
CHEST W AND WO CONTRAST
pre and post contrast
T1 C-SPINE
t1-cor
T1_cor
SAG T1 C SPINE
Thorax 1.0 B70f
COW
AX T2 FSE
PRESAT T1
CT Body 3.0
WIP sT1W_TSE
Brain - RCBV
T1 cervical
REST1 w SMS
pressure
VENTRICLE T1
SWI venography
cerebellum
Gadget
AX T1 CSPINE
Lung 1.0
accel T1
CUBE
"""

CASES = [
    (line, state)
    for lines, state in ((WITH, Contrast.WITH), (WITHOUT, Contrast.WITHOUT), (UNKNOWN, Contrast.UNKNOWN))
    for line in lines.strip().splitlines()
]


@pytest.mark.parametrize(("description", "state"), CASES)
def test_a_description_says_it(description: str, state: Contrast) -> None:
    assert said(description)[0] is state
    assert said(description.upper())[0] is state
    assert said(description.lower())[0] is state


def series(description: str, agent: str = "", protocol: str = "") -> Series:
    return Series(
        series_instance_uid="1.2",
        modality=Modality.MR,
        description=description,
        files=(Path("a"),),
        acquisition=Acquisition(contrast=agent, protocol=protocol),
    )


@pytest.mark.parametrize(
    ("description", "agent", "source", "state"),
    [
        ("AX T1", "GADAVIST", "both", Contrast.WITH),
        ("AX T1", "9ml   MULTI", "both", Contrast.WITH),
        ("AX T1", "", "both", Contrast.UNKNOWN),
        ("AX T1", "NONE", "both", Contrast.WITHOUT),
        ("AX T1", "no contrast given", "both", Contrast.WITHOUT),
        ("AX T1 PRE", "GADAVIST", "both", Contrast.WITHOUT),
        ("AX T1 PRE", "GADAVIST", "agent", Contrast.WITH),
        ("AX T1 POST", "", "both", Contrast.WITH),
        ("AX T1 POST", "", "agent", Contrast.UNKNOWN),
        ("AX T1 POST", "NONE", "both", Contrast.WITH),
        ("AX T1", "GADAVIST", "description", Contrast.UNKNOWN),
        ("W/WO", "GADAVIST", "both", Contrast.WITH),
        ("W/WO", "", "both", Contrast.UNKNOWN),
    ],
)
def test_the_description_goes_before_the_agent(
    description: str, agent: str, source: ContrastFrom, state: Contrast
) -> None:
    assert contrast_of(series(description, agent), source)[0] is state


def test_a_series_without_description_is_told_by_its_protocol() -> None:
    assert contrast_of(series("", protocol="t1_mprage_KM"))[0] is Contrast.WITH
    assert contrast_of(series("AX T1", protocol="BRAIN WITH CONTRAST"))[0] is Contrast.UNKNOWN


def test_the_reason_quotes_a_word_of_protocol_and_not_the_header() -> None:
    state, why = contrast_of(series("Lindenbrock^Otto T1 post Gd", "GIVEN BY Lindenbrock"))
    assert (state, "Lindenbrock" in why) == (Contrast.WITH, False)
    assert "Lindenbrock" not in contrast_of(series("T1", "GIVEN BY Lindenbrock"))[1]
