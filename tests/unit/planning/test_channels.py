"""Which channels a data set offers."""

from pathlib import Path

from medfuse.domain import Modality, Series, Study
from medfuse.domain.study import Acquisition
from medfuse.planning.channels import offered_channels, series_of


def study(number: int, *names: str, modality: Modality = Modality.MR, step: float = 1.0) -> Study:
    series = tuple(
        Series(
            series_instance_uid=f"1.{number}.{place}",
            modality=modality,
            description=name,
            files=(Path(f"{place}.dcm"),),
            acquisition=Acquisition(n_slices=30, spacing_mm=(1.0, 1.0, step)),
        )
        for place, name in enumerate(names)
    )
    return Study(study_instance_uid=f"1.{number}", patient_key=str(number), path=Path("x"), series=series)


def names(studies: list[Study]) -> list[tuple[str, str]]:
    return [(offer.name, offer.preset) for offer in offered_channels(studies)[0]]


def test_presets_that_enough_studies_fit_are_channels_and_the_most_frequent_is_the_reference() -> None:
    studies = [study(n, "AX FLAIR", *(["AX T1"] if n < 6 else []), *(["AX SWI"] if n == 0 else [])) for n in range(10)]

    assert names(studies) == [("flair", "flair"), ("t1", "t1")]
    assert offered_channels(studies)[1] == {"swi": 1}


def test_of_channels_that_all_have_the_finest_is_the_reference() -> None:
    studies = []
    for n in range(10):
        thick, thin = study(n, "AX T1", step=5.0).series[0], study(n + 100, "SAG FLAIR 3D", step=1.0).series[0]
        whole = study(n, "x")
        studies.append(
            Study(
                study_instance_uid=whole.study_instance_uid,
                patient_key=whole.patient_key,
                path=whole.path,
                series=(thick, thin),
            )
        )

    assert names(studies) == [("flair", "flair"), ("t1", "t1")]


def test_a_ct_is_one_channel_whatever_its_window() -> None:
    assert names([study(n, "Thorax", modality=Modality.CT) for n in range(5)]) == [("ct", "ct")]


def test_single_series_that_no_preset_knows_go_by_their_modality() -> None:
    studies = [study(n, "AX T1" if n < 3 else "volume") for n in range(10)]
    offers, rare = offered_channels(studies)

    assert [(offer.name, offer.preset) for offer in offers] == [("mr", "")]
    assert rare == {}
    assert all(series_of(one, offers) for one in studies)


def test_a_pet_ct_has_both() -> None:
    studies = []
    for n in range(4):
        ct, pet = study(n, "CT WB", modality=Modality.CT), study(n + 50, "PET WB AC", modality=Modality.PT, step=3.0)
        studies.append(
            Study(study_instance_uid=f"1.{n}", patient_key=str(n), path=Path("x"), series=(*ct.series, *pet.series))
        )

    assert names(studies) == [("ct", "ct"), ("pet", "pet")]
