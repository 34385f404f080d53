"""De-identified objects, read by others: dciodvfy finds no new error, and medfuse the same studies."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medfuse.errors import StudyError
from medfuse.ingest import find_studies, read_volume
from medfuse.ingest.deidentify import Options, Secret, deidentify_tree
from medfuse.ingest.dicom.files import READ_ERRORS

pytestmark = [pytest.mark.realdata, pytest.mark.filterwarnings("ignore::UserWarning:pydicom")]

SECRET = Secret(b"contract" * 4)
RUNS = [
    ("brain-mr-dicom", "basic"),
    ("lidc-dicom", "all"),
    ("hippocampus/dicom/001", "basic"),
    ("hippocampus/dicom/003", "all"),
    ("dicom-objects", "all"),
]
ALL = Options(
    clean_descriptors=True,
    retain_dates=True,
    retain_device=True,
    retain_patient_characteristics=True,
    retain_safe_private=True,
)


def errors(path: Path) -> Counter[str]:
    """What dciodvfy objects to, without values and identifiers."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace")
    lines = (told.stdout + told.stderr).splitlines()
    return Counter(re.sub(r"<[^>]*>|\d{6,}", "", line) for line in lines if line.startswith("Error"))


@pytest.fixture(scope="module", params=RUNS, ids="/".join)
def trees(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    name, options = request.param
    output = tmp_path_factory.mktemp("deidentified") / "out"
    deidentify_tree(shared_data / name, output, SECRET, ALL if options == "all" else Options())
    return shared_data / name, output


def test_dciodvfy_finds_no_new_error(trees: tuple[Path, Path]) -> None:
    source, output = trees
    made = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in output.rglob("*.dcm")}
    compared: Counter[str] = Counter()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            new = made.get(SECRET.uid(str(header.SOPInstanceUID)))
        except READ_ERRORS:
            continue
        kind = f"{header.get('SOPClassUID')} {header.get('SeriesInstanceUID')}"
        if new is not None and compared[kind] < 2:
            compared[kind] += 1
            assert errors(new) - errors(path) == Counter(), path.name
    assert compared


def test_the_studies_are_the_same(trees: tuple[Path, Path]) -> None:
    source, output = trees
    before = {SECRET.uid(study.study_instance_uid): study for study in find_studies(source).studies}
    after = {study.study_instance_uid: study for study in find_studies(output).studies}
    assert set(after) <= set(before)
    assert len(before) - len(after) == (source.name == "dicom-objects")  # one file there names no study
    for uid, study in after.items():
        old = before[uid]
        assert len(study.segmentations) == len(old.segmentations)
        assert len(study.reports) == len(old.reports)
        series = {(SECRET.uid(one.series_instance_uid), one.part): one for one in old.series}
        assert {(one.series_instance_uid, one.part) for one in study.series} == set(series)
        for one in study.series:
            try:
                expected = read_volume(series[one.series_instance_uid, one.part])
            except StudyError:
                continue
            found = read_volume(one)
            np.testing.assert_array_equal(found.voxels, expected.voxels)
            assert found.geometry.is_close(expected.geometry, 1e-9)


def test_no_value_that_identifies_is_left(trees: tuple[Path, Path]) -> None:
    source, output = trees
    planted = set()
    for path in (path for path in source.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except READ_ERRORS:
            continue
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber"):
            planted.add(str(header.get(keyword) or ""))
    values = {value.encode() for value in planted if len(value) >= 8}
    assert values
    for path in (path for path in output.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert [value for value in values if value in content] == [], path.name
