"""The presets, on wording of many sites, vendors and languages, and on the numbers of the headers."""

from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.domain import Acquisition, Modality, Series
from medfuse.preprocess import ChannelRule
from medfuse.preprocess.channels import choose_series, decide
from medfuse.preprocess.presets import PRESETS

T1 = """
AX T1
t1_mprage_sag
t1_mprage_sag_p2_iso
eT1W_3D_TFE
sT1W_3D_FFE
3D T1 TFE
BRAVO
Sag BRAVO
SAG IR-FSPGR
IR-SPGR
MP-RAGE
t1_space_sag_iso
T1 SE TRA
AX T1 FLAIR
T1 FLAIR SAG
AX T1 PRE
T1pre_reg
T1W AXIAL
Ax T1 FSE
T1 hippocampus crop
t1_fl2d_tra
t1_tse_cor_fs
AXT1
COR_T1
WIP sT1W_TSE
SAG T1 MEMPRAGE
T1 nativ
T1 sin contraste
T1平扫
tfl3d1_16ns
T1_VIBE
MPRAGE_GRAPPA2
t1_mpr_sag_iso
T1 SAG SE
AX T1 W/O
3D-T1
"""

T1CE = """
T1post
AX T1 POST
AX T1 +C
T1w post Gd
t1_mprage_sag_KM
BRAVO +C
SAG BRAVO POST
3D T1 TFE GADO
T1 apres injection
T1 TRA NACH KM
T1 MPRAGE KM
T1CE
T1增强
t1_vibe_fs_post
AX T1 FS POST GAD
AX T1 FLAIR +C
MPRAGE POST
"""

FLAIR = """
AX FLAIR
AX FLAIR FS
AX T2 FLAIR
t2_space_dark-fluid_sag
t2_tirm_tra_dark-fluid
SAG CUBE T2 FLAIR
FLAIR_longTR
3D_Brain_VIEW_FLAIR
FLAIR_reg
T2W_FLAIR
sT2W_FLAIR
T2-FLAIR POST
tirm_t2_tra
FLAIR TRA
"""

T2 = """
AX T2
T2 TSE
t2_tse_tra
t2_space_sag
T2_reg
AX T2 FSE
Ax T2 FRFSE
T2W_TSE
sT2W TSE
T2 PROPELLER
t2_blade_tra
AX T2 FS
SAG T2 FRFSE
COR T2 TSE FS
CISS 3D
"""

T2STAR = """
AX T2*
t2_fl2d_tra_hemo
T2*_FFE
AX GRE
T2 STAR
t2_me2d_tra
T2W_FFE
AX MERGE
"""

SWI = """
SWI_Images
SWAN
Ax SWI
"""

DWI = """
ep2d_diff_b1000
DWI b1000
ep2d_diff_3scan_trace_TRACEW
AX DWI
DTI_64
"""

ADC = """
ADC
ep2d_diff_ADC
dADC map
Apparent Diffusion Coefficient
"""

PD = """
PD TSE
AX PD FS
sPDW_TSE
Proton density
"""

STIR = """
STIR COR
SAG STIR
cor_tirm
"""

NOTHING = """
localizer
3-PLANE LOC
3 PL LOC
Survey
AAHead_Scout
T1 map
T2 MAP
MOLLI T1
REST1 w SMS
B0 NS
Perfusion DSC
T1 MIP
SUB T1 post
TOF 3D
EPI PE=AP
FA
Phase
HippoCrop
ASL
T10-T12 axial survey
POST1
"""

WORDING = {
    "t1": T1,
    "t1ce": T1CE,
    "flair": FLAIR,
    "t2": T2,
    "t2star": T2STAR,
    "swi": SWI,
    "dwi": DWI,
    "adc": ADC,
    "pd": PD,
    "stir": STIR,
    "": NOTHING,
}
CASES = [(line, preset) for preset, lines in WORDING.items() for line in lines.strip().splitlines()]


def series(
    description: str, uid: str = "1", number: int = 1, modality: Modality = Modality.MR, **made: object
) -> Series:
    acquisition = replace(Acquisition(n_slices=30), **made)  # type: ignore[arg-type]
    return Series(
        series_instance_uid=uid,
        modality=modality,
        description=description,
        number=number,
        files=(Path(uid),),
        acquisition=acquisition,
    )


def fitting(one: Series) -> set[str]:
    return {name for name in PRESETS if decide([one], [ChannelRule(preset=name)])[0].chosen}


def best(preset: str, *found: Series) -> str:
    return choose_series(found, [ChannelRule(preset=preset)])[preset].series_instance_uid


@pytest.mark.parametrize(("description", "preset"), CASES)
def test_a_description_fits_its_preset_and_no_other(description: str, preset: str) -> None:
    assert fitting(series(description)) == ({preset} if preset else set())


def test_a_series_of_another_modality_fits_none() -> None:
    assert fitting(series("AX T1", modality=Modality.OTHER)) == set()


def test_the_agent_of_the_header_parts_t1_from_t1ce() -> None:
    before, after = series("AX T1", "before"), series("AX T1", "after", contrast="GADAVIST")
    assert choose_series([after, before], [ChannelRule(preset="t1"), ChannelRule(preset="t1ce")]) == {
        "t1": before,
        "t1ce": after,
    }


def test_a_series_that_says_it_is_without_contrast_goes_before_one_that_says_nothing() -> None:
    assert best("t1", series("AX T1", "a"), series("AX T1 PRE", "b", 2)) == "b"


def test_thin_original_slices_go_before_thick_and_reformatted_ones() -> None:
    thick = series("AX T1", "thick", 1, spacing_mm=(0.5, 0.5, 6.5), orientation="axial", image_type=("ORIGINAL",))
    thin = series(
        "t1_mprage_sag", "thin", 2, spacing_mm=(1, 1, 1), n_slices=176, orientation="sagittal", image_type=("ORIGINAL",)
    )
    derived = series(
        "t1_mprage_MPR tra",
        "derived",
        3,
        spacing_mm=(1, 1, 1),
        n_slices=176,
        orientation="axial",
        image_type=("DERIVED",),
    )
    assert best("t1", thick, thin, derived) == "thin"
    assert best("t1", thick, derived) == "derived"
    same = replace(derived, acquisition=replace(derived.acquisition, spacing_mm=(0.5, 0.5, 5.0)))
    assert best("t1", thick, same) == "thick"


@pytest.mark.parametrize(
    ("preset", "made"),
    [
        ("t1", {"echo_time_ms": 10.0, "repetition_time_ms": 600.0}),
        ("t1", {"echo_time_ms": 3.0, "repetition_time_ms": 2000.0, "inversion_time_ms": 900.0}),
        ("t1ce", {"echo_time_ms": 10.0, "repetition_time_ms": 600.0, "contrast": "GADAVIST"}),
        ("t2", {"echo_time_ms": 95.0, "repetition_time_ms": 4000.0}),
        ("flair", {"echo_time_ms": 120.0, "repetition_time_ms": 9000.0, "inversion_time_ms": 2500.0}),
    ],
)
def test_a_series_without_a_name_is_known_by_its_times(preset: str, made: dict[str, object]) -> None:
    assert fitting(series("", **made)) == {preset}
    assert fitting(series("something else", **made)) == set()


def test_the_protocol_name_counts_where_there_is_no_description() -> None:
    assert fitting(series("", protocol="t2_tse_tra")) == {"t2"}


def test_numbers_speak_against_a_name() -> None:
    assert fitting(series("T2 TSE", inversion_time_ms=2500.0, echo_time_ms=100.0)) == set()
    assert fitting(series("PD/T2", echo_time_ms=20.0)) == {"pd"}
    assert fitting(series("PD/T2", echo_time_ms=90.0)) == {"t2"}


@pytest.mark.parametrize("image_type", [("ORIGINAL", "PRIMARY", "LOCALIZER"), ("DERIVED", "SECONDARY", "MIP")])
def test_localizers_and_projections_are_out_whatever_they_are_called(image_type: tuple[str, ...]) -> None:
    assert fitting(series("AX T1", image_type=image_type)) == set()


def test_a_few_slices_are_no_volume() -> None:
    assert fitting(series("AX T1", n_slices=3)) == set()


SOFT = ["STANDARD", "SOFT", "B30f", "B31s", "Br36d\\3", "I31f\\3", "FC13", "FC08", "B", "Hr40", "CHST"]
SHARP = ["LUNG", "B70f", "Br59", "BONEPLUS", "FC51", "I70f", "L", "YC", "EDGE", "Bl57d"]


@pytest.mark.parametrize("kernel", SOFT)
def test_a_soft_kernel_fills_ct_soft(kernel: str) -> None:
    soft = series("Thorax", "soft", 2, Modality.CT, kernel=kernel)
    lung = series("Thorax", "lung", 1, Modality.CT, kernel="B70f")
    assert (best("ct_soft", lung, soft), best("ct_lung", lung, soft)) == ("soft", "lung")


@pytest.mark.parametrize("kernel", SHARP)
def test_a_sharp_kernel_fills_ct_lung(kernel: str) -> None:
    lung = series("Thorax", "lung", 2, Modality.CT, kernel=kernel)
    soft = series("Thorax", "soft", 1, Modality.CT, kernel="B30f")
    assert best("ct_soft", lung, soft) == "soft"
    if kernel != "BONEPLUS":
        assert best("ct_lung", lung, soft) == "lung"


def test_one_ct_fills_two_windows() -> None:
    one = series("Thorax", modality=Modality.CT, kernel="B30f")
    rules = [
        ChannelRule(preset="ct_soft"),
        ChannelRule(preset="ct_lung"),
        ChannelRule(name="first", modality=Modality.CT),
    ]
    assert choose_series([one], rules) == {"ct_soft": one, "ct_lung": one}


def test_a_series_is_shared_only_where_both_channels_may() -> None:
    one = series("Thorax", modality=Modality.CT, kernel="B30f")
    assert choose_series([one], [ChannelRule(name="ct"), ChannelRule(preset="ct_soft")]) == {"ct": one}


def test_axial_slices_go_before_thinner_coronal_ones_in_ct() -> None:
    axial = series("Thorax 1.5", "axial", 1, Modality.CT, orientation="axial", spacing_mm=(0.7, 0.7, 1.5))
    coronal = series("Thorax COR", "coronal", 2, Modality.CT, orientation="coronal", spacing_mm=(0.7, 0.7, 1.0))
    assert best("ct", axial, coronal) == "axial"


@pytest.mark.parametrize(
    "description", ["Topogram 0.6", "Scout", "Dose Report", "Monitoring", "Smart Prep", "MIP 10mm"]
)
def test_what_is_no_ct_volume_is_left_out(description: str) -> None:
    assert fitting(series(description, modality=Modality.CT)) == set()


@pytest.mark.parametrize(("description", "fits"), [("PET AC WB", True), ("WB NAC", False), ("PET UNCORRECTED", False)])
def test_pet_is_the_corrected_one(description: str, fits: bool) -> None:
    assert fitting(series(description, modality=Modality.PT)) == ({"pet"} if fits else set())


def test_the_highest_b_value_fills_dwi() -> None:
    parts = [series("ep2d_diff", str(b), b_value=float(b)) for b in (0, 500, 1000)]
    assert best("dwi", *parts) == "1000"


def test_the_page_about_channels_names_every_preset(checkout: Path) -> None:
    page = (checkout / "data_manifests" / "channels.md").read_text(encoding="utf-8")
    assert [name for name in PRESETS if f"`{name}`" not in page] == []
