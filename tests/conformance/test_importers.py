"""Every registered importer reads the miniature of its layout, and keeps the contract."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import LabelValue, SectionName, Study, VolumeGeometry
from medfuse.ingest import find_studies, join_labels, read_segmentation, read_volume, row_of, study_of
from medfuse.ingest.importers import IMPORTERS, Importer, find_importer
from medfuse.ingest.nifti import read_nifti_series
from medfuse.ingest.scan import ScanResult
from tests.importer_layouts import CT_ORIGIN, CT_SPACING, CT_VOXELS, GRID, MINIATURES, PLANTED, VOXELS, Miniature


def test_every_importer_has_a_miniature() -> None:
    assert set(MINIATURES) == set(IMPORTERS.names())
    assert all(IMPORTERS.build(name).name == name for name in IMPORTERS.names())


@pytest.fixture(params=sorted(MINIATURES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str) -> Miniature:
    return MINIATURES[name]


@pytest.fixture
def root(made: Miniature, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    made.make(folder)
    return folder


@pytest.fixture
def importer(name: str) -> Importer:
    return IMPORTERS.build(name)


@pytest.fixture
def found(importer: Importer, root: Path) -> ScanResult:
    return importer.studies(root)


@pytest.fixture
def studies(found: ScanResult) -> dict[str, Study]:
    return {study.accession_number: study for study in found.studies}


def test_only_its_own_importer_takes_a_layout(name: str, root: Path) -> None:
    assert [other for other in IMPORTERS.names() if IMPORTERS.build(other).matches(root)] == [name]
    taken = find_importer(root)
    assert taken is not None
    assert taken.name == name


def test_no_importer_takes_what_is_not_its_layout(importer: Importer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "dataset.json").write_text("{")
    for place in (tmp_path, tmp_path / "empty", tmp_path / "file.txt", tmp_path / "gone"):
        assert not importer.matches(place)


def test_studies_series_and_patients(made: Miniature, studies: dict[str, Study], found: ScanResult) -> None:
    assert {case: tuple(s.description for s in study.series) for case, study in studies.items()} == made.series
    keys = {case: study.patient_key for case, study in studies.items()}
    shared = [{keys[case] for case in group} for group in made.patients]
    assert all(len(group) == 1 for group in shared)
    alone = sum(len(group) - 1 for group in made.patients)
    assert len(set(keys.values())) == len(studies) - alone
    assert len({study.study_instance_uid for study in found.studies}) == len(found.studies)
    uids = [series.series_instance_uid for study in found.studies for series in study.series]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 64 and uid.replace(".", "").isdecimal() for uid in uids)
    assert made.skipped <= set(found.skipped_files)


def test_a_whole_set_has_no_problems_of_its_own(name: str, studies: dict[str, Study]) -> None:
    told = {problem.split(":")[0] for study in studies.values() for problem in study.problems}
    assert told == ({"SERIES_EMPTY"} if name == "idc" else set())


def test_volumes_have_their_voxels_and_places(name: str, made: Miniature, studies: dict[str, Study]) -> None:
    for study in studies.values():
        for n, series in enumerate(study.series):
            volume = read_nifti_series(series) if series.is_nifti else read_volume(series)
            assert volume.quantity == made.quantity
            if not made.is_nifti:
                assert np.array_equal(volume.voxels, CT_VOXELS)
                assert volume.geometry.affine.spacing_mm == pytest.approx(CT_SPACING, abs=1e-3)
                assert volume.geometry.affine.origin_mm == pytest.approx(CT_ORIGIN, abs=1e-3)
                continue
            first = VOXELS + (n if name == "decathlon" else 0)
            assert np.array_equal(volume.voxels, first)
            assert volume.geometry.is_close(_expected_grid(name, study.accession_number))
            assert series.acquisition.n_slices == 4
            assert series.acquisition.spacing_mm == pytest.approx((0.5, 1.0, 2.5))
            assert series.acquisition.orientation == "axial"


def _expected_grid(name: str, case: str) -> VolumeGeometry:
    """CT-RATE's table says where its unfixed volumes are: the k axis is the cross product of the other two."""
    if name != "ct_rate" or case.startswith("valid"):
        return GRID
    matrix = GRID.affine.matrix.copy()
    matrix[:3, 2] *= -1
    return replace(GRID, affine=type(GRID.affine)(matrix))


def test_delineations_have_their_names(made: Miniature, studies: dict[str, Study]) -> None:
    for case, names in made.segments.items():
        study = studies[case]
        volume = read_nifti_series(study.series[0]) if made.is_nifti else read_volume(study.series[0])
        seen: set[str] = set()
        for path in study.segmentations:
            segmentation = read_segmentation(path, on=volume.geometry)
            seen |= {s.name for s in segmentation.segments if (segmentation.label_map == s.number).any()}
        assert seen == names


def test_reports_are_joined(made: Miniature, studies: dict[str, Study]) -> None:
    for case, sections in made.reports.items():
        (report,) = studies[case].reports
        for section in SectionName:
            assert sections.get(section, "") in report.select((section,))
            if section not in sections and section is not SectionName.OTHER:
                assert report.select((section,)) == ""


def test_labels_are_joined(made: Miniature, importer: Importer, root: Path, found: ScanResult) -> None:
    labels = importer.labels(root, found.studies)
    if not made.labels:
        assert labels is None
        return
    assert labels is not None
    joined = join_labels(found.studies, labels)
    by_case = {study.accession_number: joined[study.study_instance_uid] for study in found.studies}
    for case, values in by_case.items():
        expected = made.labels.get(case, dict.fromkeys(labels.findings, LabelValue.NOT_ASSESSED))
        assert values == expected


def test_labels_of_a_part_of_the_studies_name_no_other(
    made: Miniature, importer: Importer, root: Path, found: ScanResult
) -> None:
    labels = importer.labels(root, found.studies[:1])
    assert labels is None or set(labels.values) <= {found.studies[0].study_instance_uid}


def test_uids_are_the_same_wherever_the_set_lies(
    made: Miniature, importer: Importer, found: ScanResult, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "set"
    elsewhere.mkdir(parents=True)
    made.make(elsewhere)
    again = importer.studies(elsewhere)
    assert [s.study_instance_uid for s in again.studies] == [s.study_instance_uid for s in found.studies]
    assert [s.patient_key for s in again.studies] == [s.patient_key for s in found.studies]


def test_a_study_is_found_again_under_its_path(found: ScanResult) -> None:
    for study in found.studies:
        importer = find_importer(study.path)
        again = importer.studies(study.path) if importer is not None else find_studies(study.path)
        (same,) = [one for one in again.studies if one.study_instance_uid == study.study_instance_uid]
        assert (same.series, same.segmentations, same.reports) == (study.series, study.segmentations, study.reports)


def test_rows_of_a_manifest_lead_back(found: ScanResult, root: Path) -> None:
    for study in found.studies:
        assert study_of(row_of(study, root)).series == study.series


@pytest.mark.parametrize("left", [0, 40])
def test_a_broken_file_is_a_line_and_no_crash(made: Miniature, importer: Importer, root: Path, left: int) -> None:
    place, case = made.broken
    path = root / place
    data = path.read_bytes() if path.is_file() else b"DICM" * 20
    path.write_bytes(data[:left])
    found = importer.studies(root)
    studies = {study.accession_number: study for study in found.studies}
    assert set(studies) == set(made.series)
    assert any(path.name in problem for problem in studies[case].problems)
    assert all(": " in problem and problem.split(":")[0].isupper() for problem in studies[case].problems)
    others = {problem for other, study in studies.items() if other != case for problem in study.problems}
    assert not {problem for problem in others if path.name in problem}
    assert not any(word in problem for study in found.studies for problem in study.problems for word in PLANTED)


def test_nothing_that_names_a_person_is_told(
    made: Miniature, importer: Importer, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = importer.studies(root)
        labels = importer.labels(root, found.studies)
    told = [caplog.text, *_lines(found), repr(labels)]
    assert not [word for word in PLANTED for line in told if word in line]


def _lines(found: ScanResult) -> Iterator[str]:
    for study in found.studies:
        yield from (*study.problems, study.patient_key, study.study_instance_uid)
        yield from (f"{series.description} {series.acquisition}" for series in study.series)
    for rejected in found.rejected:
        yield f"{rejected.reason} {rejected.detail}"
