"""A planted patient appears in no output but the headers of DICOM results, in no log line, no warning and no error."""

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from medfuse.domain import Rejected, Study
from medfuse.errors import MedfuseError, StorageError, StudyError
from medfuse.ingest import find_studies
from medfuse.outputs import OUTPUTS, ScoreTable, read_scores, write_dicom_seg, write_study_outputs
from medfuse.outputs.source_grid import SourceGridError
from tests.unit.outputs import cases

PLANTED = ("Zebulon", "Quixana", cases.PATIENT_ID, "OTHER-5567", cases.BIRTH_DATE, "1951-03-02", "Evergreen Terrace")
NOTE = (
    f"Mr. Quixana (zebulon), {cases.PATIENT_ID}, born 1951-03-02, aka OTHER-5567: memory impairment for two years. "
    "ZEBULON QUIXANA denies headache."
)


def planted_in(data: bytes) -> list[str]:
    text = data.lower()
    return [word for word in PLANTED if word.lower().encode() in text]


def plant(image: pydicom.Dataset) -> pydicom.Dataset:
    image.OtherPatientIDs = "OTHER-5567"
    image.PatientAddress = "742 Evergreen Terrace"
    return image


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "in"
    folder.mkdir()
    for n, image in enumerate(cases.classic_series(cases.grid())):
        plant(image)
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.PixelData = bytes(2 * image.Rows * image.Columns)
        image.save_as(folder / f"IM{n}", enforce_file_format=True)
    (found,) = find_studies(folder).studies
    return found


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> Iterator[list[str]]:
    """Whatever was logged at any level, printed or warned of is checked at the end, with what the test adds."""
    caplog.set_level(logging.DEBUG)
    recwarn.clear()
    texts: list[str] = []
    yield texts
    out, err = capfd.readouterr()
    texts += [caplog.text, out, err, *(str(warning.message) for warning in recwarn.list)]
    assert planted_in("\n".join(texts).encode()) == []


def test_the_patient_is_in_dicom_headers_alone(tmp_path: Path, study: Study, said: list[str]) -> None:
    scored = cases.scored(text=NOTE, segmentation=cases.label_map(cases.grid()))
    folder = write_study_outputs(scored, study, tmp_path / "out", OUTPUTS.names())
    with ScoreTable(tmp_path / "out" / "scores.csv", cases.LABELS) as scores:
        scores.append(scored)
    contents = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    others = {"prediction.json", "result.pdf", "scores.csv", "scores.parquet", "segmentation.nii.gz"}
    objects = {"key-slice-1.dcm", "key-slice-2.dcm", "result-pdf.dcm", "seg.dcm", "sr.dcm"}
    assert set(contents) == others | objects
    contents["segmentation.nii"] = gzip.decompress(contents["segmentation.nii.gz"])
    for name in objects:
        content = contents.pop(name)
        assert {"Zebulon", "Quixana", cases.PATIENT_ID} <= set(planted_in(content)), f"an archive needs them in {name}"
    for name, content in contents.items():
        assert planted_in(content) == [], name
        said.append(name)
    assert b"memory impairment for two years" in contents["prediction.json"]
    said += [str(path) for path in folder.parent.rglob("*")]


def test_the_stored_text_keeps_its_offsets(tmp_path: Path, study: Study) -> None:
    from medfuse.outputs import read_prediction

    folder = write_study_outputs(cases.scored(text=NOTE), study, tmp_path / "out")
    text = read_prediction(folder / "prediction.json").text_input
    assert len(text) == len(NOTE)
    assert text.index("memory") == NOTE.index("memory")


def test_a_rejection_says_its_code_alone(tmp_path: Path, said: list[str]) -> None:
    detail = "file archive/QUIXANA_ZEBULON/IM1 is cut off"
    outcome = Rejected(study_instance_uid="1.2", accession_number="A", reason="TRUNCATED_FILE", detail=detail)
    path = tmp_path / "scores.csv"
    with ScoreTable(path, cases.LABELS, model=cases.MODEL) as scores:
        scores.append(outcome)
    assert read_scores(path)[0].reason == "TRUNCATED_FILE"
    said.append(path.read_text())


def chain(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    "spoil",
    [
        {"ImagePositionPatient": "Quixana"},
        {"FrameOfReferenceUID": "Quixana", "StudyInstanceUID": "Quixana"},
        {"SOPClassUID": "1.2.3.4"},
        {"Rows": 99},
    ],
    ids=lambda spoil: next(iter(spoil)),
)
def test_headers_that_are_refused_are_not_quoted(tmp_path: Path, said: list[str], spoil: dict[str, object]) -> None:
    sources = [plant(image) for image in cases.classic_series(cases.grid())]
    for source in sources:
        for keyword, value in spoil.items():
            tag = pydicom.datadict.tag_for_keyword(keyword)
            assert tag is not None
            vr = pydicom.datadict.dictionary_VR(tag)
            raw = value if isinstance(value, str) else int(str(value)).to_bytes(2, "little")
            encoded = raw.encode() if isinstance(raw, str) else raw
            source[tag] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), vr, len(encoded), encoded, 0, False, True, True
            )
    with pytest.raises(SourceGridError) as raised:
        write_dicom_seg(cases.label_map(cases.grid()), sources, tmp_path / "seg.dcm", model=cases.MODEL)
    said += chain(raised.value)


def test_a_full_disk_and_a_bad_uid_name_no_patient(
    tmp_path: Path, study: Study, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfuse import storage as files
    from medfuse.outputs import study_folder

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    errors: list[MedfuseError] = []
    with pytest.raises(StorageError) as full:
        write_study_outputs(cases.scored(text=NOTE), study, tmp_path / "out")
    errors.append(full.value)
    with pytest.raises(StudyError) as bad:
        study_folder(tmp_path, "Quixana/1.2")
    errors.append(bad.value)
    for error in errors:
        said += chain(error)


def test_what_a_library_says_of_a_header_is_not_passed_on(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import highdicom

    def refuse(**_: object) -> None:
        raise ValueError("cannot encode 'Quixana^Zebulon'")

    monkeypatch.setattr(highdicom.seg, "Segmentation", refuse)
    with pytest.raises(SourceGridError, match=r"highdicom refuses the source headers \(ValueError\)") as raised:
        write_dicom_seg(
            cases.label_map(cases.grid()), cases.classic_series(cases.grid()), tmp_path / "a", model=cases.MODEL
        )
    said += chain(raised.value)
