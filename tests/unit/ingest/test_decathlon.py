"""The Decathlon's layout: cases, channels, junk files, and a broken dataset.json."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfuse.domain import Modality, pseudonym
from medfuse.errors import UsageError
from medfuse.ingest import find_studies, read_volume
from medfuse.ingest.importers.decathlon import find_decathlon_studies


def image(path: Path, shape: tuple[int, ...] = (3, 4, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)


def data_set(root: Path, shape: tuple[int, ...] = (3, 4, 5), **table: Any) -> Path:
    image(root / "imagesTr" / "case_1.nii.gz", shape)
    image(root / "labelsTr" / "case_1.nii.gz")
    image(root / "imagesTs" / "case_2.nii.gz", shape)
    known = {
        "name": "Made",
        "modality": {"0": "CT"},
        "training": [{"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}],
        "test": ["./imagesTs/case_2.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(known | table))
    return root


def test_each_case_is_a_study(tmp_path: Path) -> None:
    first, second = find_decathlon_studies(data_set(tmp_path))
    assert first.patient_key == pseudonym("case_1")
    assert first.accession_number == "case_1"
    assert first.path == tmp_path
    assert first.segmentations == (tmp_path / "labelsTr" / "case_1.nii.gz",)
    assert second.segmentations == ()
    assert first.study_instance_uid.startswith("2.25.")
    assert len(first.study_instance_uid) <= 64
    assert first.problems == second.problems == ()
    (series,) = first.series
    assert (series.modality, series.channel, series.description) == (Modality.CT, None, "CT")


def test_find_studies_takes_the_importer(tmp_path: Path) -> None:
    data_set(tmp_path)
    assert find_studies(tmp_path).studies == find_decathlon_studies(tmp_path)


def test_uids_are_the_same_wherever_the_set_lies(tmp_path: Path) -> None:
    here, there = (find_decathlon_studies(data_set(tmp_path / name)) for name in "ab")
    other = find_decathlon_studies(data_set(tmp_path / "c", name="Another"))
    uids = [[s.study_instance_uid for s in studies] for studies in (here, there, other)]
    assert uids[0] == uids[1] != uids[2]
    assert [s.series[0].series_instance_uid for s in here] == [s.series[0].series_instance_uid for s in there]
    assert len({uid for group in (uids[0], uids[2]) for uid in group}) == 4


def test_channels_of_a_4d_file_become_series(tmp_path: Path) -> None:
    table = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "PET"}
    first, _ = find_decathlon_studies(data_set(tmp_path, (3, 4, 5, 4), modality=table))
    assert [series.description for series in first.series] == ["FLAIR", "T1w", "t1gd", "PET"]
    assert [series.modality for series in first.series] == [*[Modality.MR] * 3, Modality.PT]
    assert [series.channel for series in first.series] == [0, 1, 2, 3]
    assert len({series.series_instance_uid for series in first.series}) == 4
    voxels = read_volume(first.series[2]).voxels
    assert np.array_equal(voxels, np.arange(240).reshape(3, 4, 5, 4)[..., 2])


def test_junk_of_macos_is_left_out_and_unpacked_files_are_found(tmp_path: Path) -> None:
    data_set(tmp_path)
    for name in ("imagesTr/._case_1.nii.gz", "labelsTr/._case_1.nii.gz"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7Mac OS X")
    image(tmp_path / "imagesTr" / "case_3.nii")
    training = [
        {"image": "./imagesTr/._case_1.nii.gz", "label": "./labelsTr/._case_1.nii.gz"},
        {"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"},
        {"image": "imagesTr/case_3.nii.gz"},
    ]
    studies = find_decathlon_studies(data_set(tmp_path, training=training, test=[]))
    assert [study.accession_number for study in studies] == ["case_1", "case_3"]
    assert studies[1].series[0].files == (tmp_path / "imagesTr" / "case_3.nii",)


def test_broken_cases_are_problems_and_the_others_go_on(tmp_path: Path) -> None:
    data_set(tmp_path)
    names = ("case_1", "gone", "cut", "deep", "unlabelled")
    training = [{"image": f"imagesTr/{n}.nii.gz", "label": f"labelsTr/{n}.nii.gz"} for n in names]
    data_set(tmp_path, training=training, test=[])
    for name in ("gone", "cut", "deep"):
        image(tmp_path / "labelsTr" / f"{name}.nii.gz")
    (tmp_path / "imagesTr" / "cut.nii.gz").write_bytes((tmp_path / "imagesTr" / "case_1.nii.gz").read_bytes()[:60])
    image(tmp_path / "imagesTr" / "deep.nii.gz", (3, 4, 5, 2))
    image(tmp_path / "imagesTr" / "unlabelled.nii.gz")
    studies = {study.accession_number: study for study in find_decathlon_studies(tmp_path)}
    reasons = {name: [problem.split(":")[0] for problem in study.problems] for name, study in studies.items()}
    assert reasons == {
        "case_1": [], "gone": ["IMAGE_MISSING"], "cut": ["UNREADABLE_FILE"], "deep": ["CHANNEL_MISMATCH"],
        "unlabelled": ["LABEL_MISSING"],
    }  # fmt: skip
    assert [name for name, study in studies.items() if not study.series] == ["gone", "cut", "deep"]
    assert studies["unlabelled"].segmentations == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"modality": {}}, "key modality is missing or no table"),
        ({"modality": ["CT"]}, "key modality is missing or no table"),
        ({"modality": {"1": "CT"}}, r"keys of modality are \['1'\], expected 0 to 0"),
        ({"training": {}}, "key training is missing or no list"),
        ({"training": [{"label": "x"}]}, r"training\[0\] names no image"),
        ({"training": [7]}, r"training\[0\] names no image"),
        ({"test": "x"}, "key test is no list"),
        ({"training": [], "test": []}, "lists no case"),
        ({"training": [{"image": "../outside.nii.gz"}]}, "outside of its folder"),
        ({"training": [{"image": "/etc/passwd"}]}, "outside of its folder"),
        ({"test": ["imagesTr/case_1.nii.gz"]}, "lists case_1.nii.gz twice"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_decathlon_studies(data_set(tmp_path, **table))


@pytest.mark.parametrize("text", [b"", b"[]", b"{,}", b"\xff\xfe", b'{"training": []}', b"[" * 100_000])
def test_what_is_no_table_is_refused(tmp_path: Path, text: bytes) -> None:
    data_set(tmp_path)
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(UsageError, match=r"dataset\.json: "):
        find_decathlon_studies(tmp_path)


@pytest.mark.realdata
def test_the_hippocampus_set(shared_data: Path) -> None:
    studies = find_decathlon_studies(shared_data / "hippocampus" / "nifti")
    assert len(studies) == 200
    assert all(len(study.series) == len(study.segmentations) == 1 and not study.problems for study in studies)
    assert {study.series[0].modality for study in studies} == {Modality.MR}
    assert len({study.study_instance_uid for study in studies}) == 200
