"""nnU-Net's raw layout: endings, channels, regions, listed files, version 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.domain import Modality
from medfuse.errors import UsageError
from medfuse.ingest.importers import NNUNet, find_importer
from medfuse.ingest.importers.nnunet import regions_of
from tests.importer_layouts import image, mask, nnunet


def described(root: Path, **values: Any) -> None:
    path = root / "dataset.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    nnunet(tmp_path)
    return tmp_path


def test_unpacked_files_are_read(tmp_path: Path) -> None:
    image(tmp_path / "imagesTr" / "a_0000.nii")
    mask(tmp_path / "labelsTr" / "a.nii", 1)
    table = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii"}
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    (study,) = NNUNet().studies(tmp_path).studies
    assert study.series[0].modality is Modality.CT
    assert [path.name for path in study.segmentations] == ["a.nii"]


@pytest.mark.parametrize("ending", [".png", ".nrrd", ".mha"])
def test_endings_that_nobody_reads_are_refused(root: Path, ending: str) -> None:
    described(root, file_ending=ending)
    with pytest.raises(UsageError, match=rf"file_ending is \{ending}; medfuse reads \.nii\.gz and \.nii"):
        NNUNet().studies(root)


def test_channels_that_are_not_there_are_problems(root: Path) -> None:
    (root / "imagesTr" / "BraTS-GLI-00001-000_0001.nii.gz").unlink()
    image(root / "imagesTr" / "BraTS-GLI-00001-001_0007.nii.gz")
    first, second, _ = NNUNet().studies(root).studies
    assert first.problems == ("IMAGE_MISSING: BraTS-GLI-00001-000 has no channel 0001 (FLAIR)",)
    assert second.problems == (
        "CHANNEL_MISMATCH: BraTS-GLI-00001-001 has channels [7], which dataset.json does not name",
    )
    assert [series.description for series in first.series] == ["T1"]


def test_labels_that_are_not_there_are_problems_of_training_cases(root: Path) -> None:
    (root / "labelsTr" / "BraTS-GLI-00001-000.nii.gz").unlink()
    (root / "labelsTs" / "case_2.nii.gz").unlink()
    mask(root / "labelsTr" / "nobody.nii.gz", 1)
    found = NNUNet().studies(root)
    assert [study.problems for study in found.studies] == [
        ("LABEL_MISSING: labelsTr/BraTS-GLI-00001-000.nii.gz",), (), ()
    ]  # fmt: skip
    assert found.skipped_files["LABEL_WITHOUT_IMAGE"] == 1


def test_files_may_be_listed(root: Path) -> None:
    cases = {
        "x": {
            "images": ["imagesTr/BraTS-GLI-00001-000_0000.nii.gz", "imagesTs/case_2_0001.nii.gz"],
            "label": "labelsTs/case_2.nii.gz",
        }
    }
    described(root, dataset=cases)
    first, second = NNUNet().studies(root).studies
    assert first.accession_number == "x"
    assert [series.files[0].name for series in first.series] == [
        "BraTS-GLI-00001-000_0000.nii.gz",
        "case_2_0001.nii.gz",
    ]
    assert first.segmentations == (root / "labelsTs" / "case_2.nii.gz",)
    assert second.accession_number == "case_2"


@pytest.mark.parametrize(
    "entry", [{"images": ["../x.nii.gz"]}, {"images": ["imagesTr/a.nii.gz"], "label": "/etc/passwd"}]
)
def test_files_outside_are_refused(root: Path, entry: dict[str, Any]) -> None:
    described(root, dataset={"x": entry})
    with pytest.raises(UsageError, match="outside of its folder"):
        NNUNet().studies(root)


@pytest.mark.parametrize("entry", [{"images": "a"}, {"images": [1]}, {}, 7])
def test_listed_cases_without_images_are_refused(root: Path, entry: Any) -> None:
    described(root, dataset={"x": entry})
    with pytest.raises(UsageError, match=r"dataset\.x lists no images"):
        NNUNet().studies(root)


@pytest.mark.parametrize("channels", [{}, [], "T1", {"a": "T1"}])
def test_channels_have_to_be_named(root: Path, channels: Any) -> None:
    described(root, channel_names=channels)
    with pytest.raises(UsageError, match="key channel_names is missing or no table"):
        NNUNet().studies(root)


def test_version_1_is_told_by_its_file_names(root: Path) -> None:
    listed = [{"image": "./imagesTr/case_2.nii.gz", "label": "./labelsTr/case_2.nii.gz"}]
    described(root, channel_names=None, file_ending=None, modality={"0": "T1", "1": "FLAIR"}, training=listed)
    found = find_importer(root)
    assert found is not None
    assert found.name == "nnunet"
    assert len(found.studies(root).studies) == 3


def test_a_folder_without_images_is_refused(root: Path) -> None:
    for path in root.rglob("*_000?.nii.gz"):
        path.unlink()
    with pytest.raises(UsageError, match=r"holds no images that end in _0000\.nii\.gz"):
        NNUNet().studies(root)


def test_numbers_that_only_regions_share_have_no_name() -> None:
    labels = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": [3], "edema": 1, "ignore": 4}
    assert regions_of(labels) == {3: "enhancing", 1: "edema", 4: "ignore"}
    assert regions_of({"a": "1", "b": [1, 2], "c": 300, "d": None}) == {}
