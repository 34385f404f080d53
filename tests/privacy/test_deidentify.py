"""Planted identities appear in no byte of a de-identified folder, in no record, on no console and in no log."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from typer.testing import CliRunner

from medfuse.cli.main import application
from medfuse.ingest import find_studies, read_segmentation, read_volume
from medfuse.ingest.deidentify import Options, Secret, deidentify_tree
from tests.unit.ingest.made_dicom import ramp, save, slices, uid
from tests.unit.ingest.made_objects import circle, structure_set

PLANTED = (
    *(
        "Zebulon",
        "Quixana",
        "Quixaña",
        "MRN-4711-X",
        "OTHER-5567",
        "ACC-998877",
        "19510302",
        "1951-03-02",
        "02.03.1951",
    ),
    *("Evergreen", "555-0199", "z.quixana@example.org", "Hibbert", "Lovejoy", "Saint Eligius", "20200117", "202001"),
    *("SECRETOVERLAY", "PRIVATESECRET", "SECRETAE", "PREAMBLESECRET", "STATION-77", "SERIAL-8899", "SECRETICON"),
    *("17.01.2020", "1.3.6.1.4.1.99999.77", "TRAILINGSECRET", "Ward 13"),
    *("UNKNOWNSECRET", "OBSERVERORG", "Clipboard"),
)
NOTE = (
    "Patient: Zebulon Quixana, MRN: MRN-4711-X, born 1951-03-02 (02.03.1951), 742 Evergreen Terrace, "
    "tel. 089 555-0199, z.quixana@example.org. Accession ACC-998877. Referred by Dr. Hibbert of Saint Eligius.\n"
    "INDICATION: memory impairment for two years; CT of 17.01.2020 compared. QUIXAÑA denies headache.\n"
    "FINDINGS: an 8 x 7 mm nodule.\nSigned: Lovejoy\n"
)


def planted_in(data: bytes) -> list[str]:
    """The planted words in some bytes, whatever case and encoding."""
    low = data.lower()
    return [
        word
        for word in PLANTED
        if any(word.lower().encode(code) in low for code in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"))
    ]


def item(**tags: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def plant(dataset: Dataset) -> Dataset:
    """Put the patient everywhere that an object has room."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Quixaña^Zebulon", "MRN-4711-X", "ACC-998877"
    dataset.PatientBirthDate, dataset.OtherPatientIDs = "19510302", "OTHER-5567"
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = "742 Evergreen Terrace", "555-0199"
    dataset.ReferringPhysicianName, dataset.OperatorsName = "Hibbert^Julius^^Dr", ["Lovejoy^T", "Quixana^Z"]
    dataset.InstitutionName, dataset.StationName, dataset.DeviceSerialNumber = (
        "Saint Eligius",
        "STATION-77",
        "SERIAL-8899",
    )
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20200117"
    dataset.AcquisitionDateTime = "20200117120000.5+0100"
    dataset.StudyDescription = "Head of Quixana 17.01.2020"
    dataset.SeriesDescription = "T1 axial ACC-998877"
    dataset.ImageComments = NOTE
    dataset.PatientComments = "Zebulon"
    dataset.Manufacturer = "made for Quixana"
    dataset.SoftwareVersions = ["1", "Zebulon 2"]
    dataset.RequestAttributesSequence = Sequence(
        [item(RequestedProcedureID="ACC-998877", ScheduledProcedureStepDescription="Lovejoy")]
    )
    dataset.OriginalAttributesSequence = Sequence(
        [item(ModifiedAttributesSequence=Sequence([item(PatientName="Quixana^Zebulon", PatientID="OTHER-5567")]))]
    )
    dataset.PersonIdentificationCodeSequence = Sequence(
        [item(CodeValue="7", CodingSchemeDesignator="99L", CodeMeaning="Lovejoy")]
    )
    dataset.DerivationCodeSequence = Sequence(
        [item(CodeValue="1", CodingSchemeDesignator="99L", CodeMeaning="as Zebulon Quixana", PatientID="MRN-4711-X")]
    )
    icon = item(Rows=1, Columns=10, SamplesPerPixel=1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    icon.PhotometricInterpretation, icon.PixelData = "MONOCHROME2", b"SECRETICON"
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = Sequence([icon])
    dataset.CurrentPatientLocation = "Ward 13"
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60000011, "US", 5)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", b"SECRETOVERLAY\0")
    dataset.add_new(0x60004000, "LT", "SECRETOVERLAY")
    dataset.add_new(0x50003000, "OW", b"SECRETOVERLAY\0")
    block = dataset.private_block(0x0029, "QUIXANA PRIVATE", create=True)
    block.add_new(0x10, "LO", "PRIVATESECRET")
    block.add_new(0x11, "SQ", Sequence([item(PatientName="Quixana^Zebulon")]))
    safe = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    safe.add_new(0x0E, "FL", 2.5)
    safe.add_new(0x20, "LO", "PRIVATESECRET")
    dataset.add_new(0x0018FF10, "LO", "UNKNOWNSECRET")
    dataset.add_new(0xFFFCFFFC, "OB", b"TRAILINGSECRET")
    return dataset


def instance_uid(*parts: object) -> str:
    """A UID whose root is planted too."""
    return f"1.3.6.1.4.1.99999.77.{int(uid(*parts).split('.')[-1]) % 10**20}"


def spoil_envelope(path: Path) -> None:
    """Put names into the preamble and the meta header, where archives leave their own."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.SourceApplicationEntityTitle = "SECRETAE"
    dataset.save_as(path)
    content = bytearray(path.read_bytes())
    content[:14] = b"PREAMBLESECRET"
    path.write_bytes(bytes(content))


def structured_report(image: Dataset) -> Dataset:
    report = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", SOPInstanceUID=instance_uid("sr"), Modality="SR")
    report.StudyInstanceUID, report.SeriesInstanceUID = image.StudyInstanceUID, instance_uid("sr series")
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "VERIFIED"

    def concept(value: str, meaning: str) -> Sequence:
        return Sequence([item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)])

    content = [
        ("TEXT", "121060", "History", {"TextValue": NOTE}),
        ("TEXT", "121071", "Finding", {"TextValue": "An 8 mm nodule. Zebulon was told."}),
        ("TEXT", "121030", "Subject ID", {"TextValue": "MRN-4711-X"}),
        ("TEXT", "121009", "Person Observer's Organization Name", {"TextValue": "OBSERVERORG of the Clipboard"}),
        ("PNAME", "121008", "Person Observer Name", {"PersonName": "Lovejoy^T"}),
        ("DATE", "121025", "Study Date", {"Date": "20200117"}),
        ("UIDREF", "121018", "Procedure Study Instance UID", {"UID": str(image.StudyInstanceUID)}),
    ]
    report.ContentSequence = Sequence(
        [
            item(ValueType=kind, RelationshipType="CONTAINS", ConceptNameCodeSequence=concept(value, meaning), **values)
            for kind, value, meaning, values in content
        ]
    )
    report.VerifyingObserverSequence = Sequence(
        [
            item(
                VerifyingObserverName="Lovejoy^T",
                VerifyingOrganization="Saint Eligius",
                VerificationDateTime="20200117",
            )
        ]
    )
    report.ReferencedInstanceSequence = Sequence([item(ReferencedSOPInstanceUID=image.SOPInstanceUID)])
    return report


def made_source(root: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """A study with images, a structure set, reports, and things to hold back, under telling names."""
    folder = root / "QUIXANA_ZEBULON" / "17.01.2020"
    folder.mkdir(parents=True)
    images = slices(ramp())
    for k, image in enumerate(images):
        plant(image)
        image.StudyInstanceUID, image.SeriesInstanceUID = instance_uid("study"), instance_uid("series")
        image.FrameOfReferenceUID, image.SOPInstanceUID = instance_uid("frame"), instance_uid("image", k)
        save(image, folder / f"Quixana_{k}.dcm", syntax=syntax)
        spoil_envelope(folder / f"Quixana_{k}.dcm")
    regions = plant(structure_set({"lesion of Quixana": [circle((-8, 21, 30), 1.6, ((1, 0, 0), (0, 1, 0)))]}))
    regions.StudyInstanceUID, regions.SeriesInstanceUID = images[0].StudyInstanceUID, instance_uid("rt")
    regions.SOPInstanceUID = instance_uid("rt", 1)
    regions.StructureSetLabel = "Quixana"
    referenced = item(ReferencedSOPClassUID=images[0].SOPClassUID, ReferencedSOPInstanceUID=images[0].SOPInstanceUID)
    regions.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = Sequence([referenced])
    save(regions, folder / "rt")
    report = plant(structured_report(images[0]))
    save(report, folder / "sr")
    (folder / "Zebulon.txt").write_text(NOTE, encoding="utf-8")
    capture = plant(slices(ramp())[0])
    capture.SOPClassUID, capture.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", instance_uid("capture")
    capture.StudyInstanceUID, capture.SeriesInstanceUID = images[0].StudyInstanceUID, instance_uid("capture series")
    save(capture, folder / "capture")
    (folder / "Quixana.jpg").write_bytes(b"Quixana")
    return root


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> Iterator[list[str]]:
    """Whatever was logged, printed or warned of is checked at the end, with what the test adds."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    yield texts
    out, err = capfd.readouterr()
    texts += [caplog.text, out, err, *(str(warning.message) for warning in recwarn.list)]
    assert planted_in("\n".join(texts).encode()) == []


EVERYTHING = Options(
    clean_descriptors=True,
    retain_dates=True,
    retain_patient_characteristics=True,
    retain_safe_private=True,
)


@pytest.mark.parametrize("options", [Options(), EVERYTHING], ids=["basic profile", "options"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_nothing_planted_is_left(tmp_path: Path, said: list[str], options: Options, syntax: str) -> None:
    source = made_source(tmp_path / "in", syntax)
    there = {word for path in source.rglob("*") if path.is_file() for word in planted_in(path.read_bytes())}
    assert there == set(PLANTED)
    record, held = deidentify_tree(source, tmp_path / "out", Secret(b"0" * 32), options)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".dcm"]) == 5
    for path in files:
        assert planted_in(path.read_bytes()) == [], path.name
    said += [str(path.relative_to(tmp_path)) for path in files]
    said.append(repr(record.as_dict()))
    assert sorted(one.reason for one in held) == ["OTHER_FILE", "SECONDARY_CAPTURE"]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_command_says_no_name(tmp_path: Path, said: list[str]) -> None:
    source = made_source(tmp_path / "in")
    arguments = ["deidentify", str(source), str(tmp_path / "out"), "--key-file", str(tmp_path / "key"), "--new-key"]
    result = CliRunner().invoke(application("deidentify"), [*arguments, "--clean-descriptors", "--verbose"])
    assert result.exit_code == 1
    key = (tmp_path / "key").read_text().strip()
    assert key not in result.output
    said.append(result.output)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes()
            assert planted_in(path.read_bytes()) == []


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_study_is_still_the_same(tmp_path: Path) -> None:
    """Voxels, geometry, regions, texts and references come through."""
    source = made_source(tmp_path / "in")
    secret = Secret(b"1" * 32)
    deidentify_tree(source, tmp_path / "out", secret, EVERYTHING)
    (before,) = find_studies(source).studies
    (after,) = find_studies(tmp_path / "out").studies
    assert after.study_instance_uid == secret.uid(before.study_instance_uid)
    assert [s.series_instance_uid for s in after.series] == [secret.uid(s.series_instance_uid) for s in before.series]
    assert [s.description for s in after.series] == ["T1 axial [ID]"]
    old, new = read_volume(before.series[0]), read_volume(after.series[0])
    np.testing.assert_array_equal(new.voxels, old.voxels)
    assert new.geometry.is_close(old.geometry, 1e-9)
    assert len(after.reports) == len(before.reports) == 2
    assert all("memory impairment for two years" in report.text for report in after.reports)
    objects = {path: pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")}
    (regions,) = (path for path, dataset in objects.items() if dataset.Modality == "RTSTRUCT")
    (contours,) = objects[regions].ROIContourSequence
    names = {dataset.SOPInstanceUID for dataset in objects.values()}
    assert contours.ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID in names
    assert read_segmentation(regions, new.geometry).label_map.any()
    (report,) = (dataset for dataset in objects.values() if dataset.Modality == "SR")
    assert report.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID in names
    assert after.study_instance_uid == report.ContentSequence[6].UID
    scale = next(dataset for dataset in objects.values() if dataset.Modality == "CT")
    assert scale.private_block(0x2005, "Philips MR Imaging DD 001")[0x0E].value == 2.5
    assert len({dataset.StudyDate for dataset in objects.values()}) == 1
    assert scale.AcquisitionDateTime[8:] == "120000.5+0100"
    for dataset in objects.values():
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.PatientID.startswith("P")
        codes = [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence]
        assert codes == [code for code, _ in EVERYTHING.codes]


def hidden_overlay(signed: bool) -> tuple[Dataset, np.ndarray]:
    values = np.arange(-10, 10) if signed else np.arange(20)
    own = values.astype(np.int16).astype(np.uint16) & 0x0FFF
    stored = own.copy()
    if signed:
        stored[values < 0] |= 0xF000
    stored[::3] ^= 0x8000
    image = slices(np.zeros((5, 4, 1), np.int16))[0]
    image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, int(signed)
    image.PixelData = stored.astype("<u2").tobytes()
    image["PixelData"].VR = "OW"
    image.add_new(0x60000100, "US", 16)
    image.add_new(0x60000102, "US", 15)
    return image, values


@pytest.mark.parametrize("signed", [False, True])
def test_overlays_beside_the_pixels_are_cleared(tmp_path: Path, signed: bool) -> None:
    image, values = hidden_overlay(signed)
    (tmp_path / "in").mkdir()
    save(image, tmp_path / "in" / "1")
    deidentify_tree(tmp_path / "in", tmp_path / "out", Secret.random(), Options())
    (path,) = (tmp_path / "out").rglob("*.dcm")
    pixels = np.frombuffer(pydicom.dcmread(path).PixelData, "<i2" if signed else "<u2")
    np.testing.assert_array_equal(pixels, values)
