from collections import defaultdict

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medfuse.phantom import FAMILIES, StudyTruth
from medfuse.phantom.case import Case
from medfuse.phantom.plan import StudyPlan, plan_studies
from tests.unit.phantom.conftest import Made


def _images(made: Made, study: StudyTruth) -> dict[str, list[Dataset]]:
    """Series Instance UID -> its slices, sorted along the normal of the slices."""
    found: dict[str, list[Dataset]] = defaultdict(list)
    for path in sorted((made.root / study.directory).rglob("*")):
        if path.is_file() and path.suffix == "":
            image = pydicom.dcmread(path)
            found[image.SeriesInstanceUID].append(image)
    for slices in found.values():
        orientation = np.array(slices[0].ImageOrientationPatient, dtype=float)
        normal = np.cross(orientation[:3], orientation[3:])
        slices.sort(key=lambda image: float(normal @ np.array(image.ImagePositionPatient, dtype=float)))
    return found


def _plans(made: Made) -> tuple[StudyPlan, ...]:
    family = FAMILIES[made.truth.family]
    studies, seed = len(made.truth.studies), made.truth.seed
    return plan_studies(family.name, studies=studies, seed=seed, ages=family.ages, quantities=family.quantities)


def _case(made: Made, study: StudyTruth) -> Case:
    plan = next(plan for plan in _plans(made) if plan.directory == study.directory)
    return FAMILIES[made.truth.family].make(plan)


def test_voxels_and_positions_read_back(made: Made) -> None:
    plain = [study for study in made.truth.studies if not study.compressed][:2]
    compressed = [study for study in made.truth.studies if study.compressed][:1]
    assert len(plain + compressed) == 3
    for study in plain + compressed:
        case = _case(made, study)
        images = _images(made, study)
        assert set(images) == set(study.series.values())
        for series in case.series:
            slices = images[study.series[series.channel]]
            read = np.stack([image.pixel_array.T for image in slices], axis=2)
            assert np.array_equal(read, series.voxels)
            for k, image in enumerate(slices):
                expected = case.geometry.affine.apply((0, 0, k))
                assert np.array(image.ImagePositionPatient, dtype=float) == pytest.approx(expected, abs=1e-6)
            first = slices[0]
            columns = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
            assert pytest.approx(case.geometry.affine.direction[:, :2], abs=1e-6) == columns.T
            spacing = case.geometry.affine.spacing_mm
            assert [float(x) for x in first.PixelSpacing] == pytest.approx([spacing[1], spacing[0]])
            numbers = [int(image.InstanceNumber) for image in slices]
            assert numbers == sorted(numbers, reverse=not series.ascending)


def test_transfer_syntax_is_the_stated_one(made: Made) -> None:
    for study in made.truth.studies:
        path = next(p for p in (made.root / study.directory).rglob("*") if p.is_file() and p.suffix == "")
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        assert syntax == (RLELossless if study.compressed else ExplicitVRLittleEndian)


def test_header_and_truth_agree(made: Made) -> None:
    for study in made.truth.studies[:3]:
        images = [image for slices in _images(made, study).values() for image in slices]
        assert {image.StudyInstanceUID for image in images} == {study.study_instance_uid}
        assert {image.PatientID for image in images} == {study.patient_id}
        assert {image.AccessionNumber for image in images} == {study.accession}
        assert {int(image.PatientAge[:-1]) for image in images} == {study.facts["age"]}
        assert {image.PatientSex for image in images} == {study.facts["sex"]}
        assert len({image.FrameOfReferenceUID for image in images}) == 1
        assert len({image.SOPInstanceUID for image in images}) == len(images)
        assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in images)


def test_names_with_accents_survive(made: Made) -> None:
    for plan in _plans(made):
        path = next(p for p in (made.root / plan.directory).rglob("*") if p.is_file() and p.suffix == "")
        assert str(pydicom.dcmread(path, stop_before_pixels=True).PatientName) == plan.patient.name
