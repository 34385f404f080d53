"""BIDS: names, sidecars and their inheritance, sessions, phenotypes, spaces."""

import json
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import LabelValue, Modality
from medfuse.errors import ManifestError
from medfuse.ingest.importers import BIDS
from medfuse.ingest.importers.bids import Name, mask_names
from tests.importer_layouts import SHAPE, bids, image, mask, table, text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bids(tmp_path)
    return tmp_path


def test_sidecars_are_inherited_the_nearest_wins(root: Path) -> None:
    first = BIDS().studies(root).studies[0]
    flair, t1 = first.series
    assert (t1.acquisition.manufacturer, t1.acquisition.echo_time_ms) == ("Made", 2.5)
    assert t1.acquisition.contrast == "gadolinium"
    assert (flair.acquisition.manufacturer, flair.acquisition.echo_time_ms) == ("", None)


def test_sidecars_that_say_nonsense_say_nothing(root: Path) -> None:
    sidecar = root / "sub-02" / "anat" / "sub-02_T2w.json"
    values = {"EchoTime": "long", "RepetitionTime": True, "ImageType": "x", "Manufacturer": ["a"], "SliceThickness": 3}
    text(sidecar, json.dumps(values))
    acquisition = BIDS().studies(root).studies[2].series[0].acquisition
    assert (acquisition.echo_time_ms, acquisition.repetition_time_ms, acquisition.manufacturer) == (None, None, "")
    assert acquisition.thickness_mm == 3
    for content in ("{", "[]"):
        text(sidecar, content)
        assert BIDS().studies(root).studies[2].series[0].acquisition.thickness_mm is None


def test_names_in_parts() -> None:
    name = Name.of("sub-01_ses-a_ce-gd_run-2_T1w")
    assert name.entities == {"sub": "01", "ses": "a", "ce": "gd", "run": "2"}
    assert name.suffix == "T1w"
    assert Name.of("ce-gd_T1w").applies_to(name)
    assert Name.of("T1w").applies_to(name)
    assert not Name.of("ce-other_T1w").applies_to(name)
    assert not Name.of("T2w").applies_to(name)


def test_ct_and_pet_and_the_folders_of_mids(root: Path) -> None:
    image(root / "sub-02" / "pet" / "sub-02_pet.nii.gz")
    image(root / "sub-02" / "mod-rx" / "sub-02_bp-chest_ct.nii.gz")
    image(root / "sub-02" / "anat" / "sub-02_PDT2.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    study = BIDS().studies(root).studies[2]
    assert [(s.description, s.modality) for s in study.series] == [
        ("T2w", Modality.MR), ("ct", Modality.CT), ("pet", Modality.PT)
    ]  # fmt: skip
    assert study.problems == ("CHANNEL_MISMATCH: anat/sub-02_PDT2.nii.gz holds 2 volumes, expected one",)


def test_a_mask_in_the_raw_data_is_a_delineation(root: Path) -> None:
    mask(root / "sub-02" / "anat" / "sub-02_label-tumour_roi.nii.gz", 1)
    study = BIDS().studies(root).studies[2]
    assert [path.name for path in study.segmentations] == ["sub-02_dseg.nii.gz", "sub-02_label-tumour_roi.nii.gz"]
    assert mask_names(study.segmentations[1]) == {1: "tumour"}


def test_names_of_a_label_map_come_from_the_nearest_table(root: Path) -> None:
    path = root / "derivatives" / "tissue" / "sub-02" / "anat" / "sub-02_dseg.nii.gz"
    assert mask_names(path) == {1: "grey", 3: "white"}
    table(path.with_name("sub-02_dseg.tsv"), [("index", "name"), (2, "x"), ("a", "y"), (999, "z")], delimiter="\t")
    assert mask_names(path) == {2: "x"}
    text(path.with_name("sub-02_dseg.tsv"), "no table")
    assert mask_names(path) == {}
    assert mask_names(Path("sub-02_desc-brain_mask.nii.gz")) == {1: "brain"}
    assert mask_names(Path("sub-02_mask.nii.gz")) == {1: "mask"}
    assert mask_names(Path("sub-02_T1w.nii.gz")) == mask_names(Path("mask.nii.gz")) == {}


def test_people_are_no_findings_and_clashing_columns_get_their_file(root: Path) -> None:
    table(
        root / "phenotype" / "mood.tsv", [("participant_id", "relapse", "gender"), ("sub-02", "1", "0")], delimiter="\t"
    )
    studies = BIDS().studies(root).studies
    labels = BIDS().labels(root, studies)
    assert labels is not None
    assert set(labels.findings) == {"course_relapse", "mood_relapse"}
    assert labels.values[studies[2].study_instance_uid]["mood_relapse"] is LabelValue.PRESENT
    assert labels.values[studies[0].study_instance_uid]["mood_relapse"] is LabelValue.NOT_ASSESSED


def test_a_row_without_a_session_is_of_all_sessions(root: Path) -> None:
    table(root / "phenotype" / "course.tsv", [("participant_id", "relapse"), ("01", "1")], delimiter="\t")
    studies = BIDS().studies(root).studies
    labels = BIDS().labels(root, studies)
    assert labels is not None
    assert set(labels.values) == {study.study_instance_uid for study in studies[:2]}


def test_a_phenotype_without_participants_is_wrong_use(root: Path) -> None:
    table(root / "phenotype" / "course.tsv", [("id", "relapse"), ("01", "1")], delimiter="\t")
    with pytest.raises(ManifestError, match="lacks the column participant_id"):
        BIDS().labels(root, BIDS().studies(root).studies)


def test_a_subject_folder_with_a_datatype_is_enough(tmp_path: Path) -> None:
    image(tmp_path / "sub-9" / "anat" / "sub-9_T1w.nii.gz")
    assert BIDS().matches(tmp_path)
    (study,) = BIDS().studies(tmp_path).studies
    assert study.accession_number == "sub-9"
    (tmp_path / "other" / "sub-9" / "dicom").mkdir(parents=True)
    assert not BIDS().matches(tmp_path / "other")
