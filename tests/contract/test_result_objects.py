"""Every DICOM object that a scored study becomes, read by others: dciodvfy, dcmtk, highdicom, a viewer's way."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from medfuse.domain import (
    Familiarity,
    Finding,
    LabelValue,
    MapMeaning,
    Prediction,
    QualityFlag,
    Quantity,
    Scored,
    Segment,
    Segmentation,
    Study,
    TargetKind,
    TargetPrediction,
    Volume,
    VolumeGeometry,
    VoxelMap,
)
from medfuse.ingest import find_studies, read_segmentation, read_volume
from medfuse.outputs import OUTPUTS, SegmentMeasurement, measure, result, write_parametric_map, write_study_outputs
from medfuse.outputs.json import RESEARCH_USE
from tests.contract.judges import as_a_viewer_reads, dciodvfy_errors, dcmtk
from tests.unit.outputs import cases

ORIENTATIONS = {
    "axial": cases.AXIAL,
    "sagittal": cases.SAGITTAL,
    "coronal": cases.CORONAL,
    "oblique": cases.oblique(),
    "flipped": cases.FLIPPED,
    "flipped columns": cases.FLIPPED_COLUMNS,
    "backwards": cases.BACKWARDS,
}
OBJECTS = {"seg.dcm", "sr.dcm", "key-slice-1.dcm", "key-slice-2.dcm", "result-pdf.dcm", "map-1.dcm", "map-2.dcm"}
FINDING = Finding(
    name="atrophy",
    probability=0.25,
    operating_point=0.125,
    calibrated=True,
    spread=0.0625,
    prediction_set=(LabelValue.PRESENT, LabelValue.ABSENT),
)
TARGETS = (
    TargetPrediction(name="stage", kind=TargetKind.GRADES, classes=("I", "II"), probabilities=(0.25, 0.75), value=0.75),
    TargetPrediction(name="age", kind=TargetKind.NUMBER, value=63.25, unit="years"),
)

Write = Callable[..., Path]


def full_prediction() -> Prediction:
    return dataclasses.replace(
        cases.prediction(),
        findings=(FINDING, Finding(name="impairment", probability=1.0)),
        targets=TARGETS,
        familiarity=Familiarity(distance=3.5, threshold=2.0),
        quality=(QualityFlag(code="FEW_SLICES", detail="12 slices, expected at least 20"),),
    )


def image_on(geometry: VolumeGeometry, quantity: Quantity) -> Volume:
    voxels = np.random.default_rng(5).normal(40, 20, geometry.shape).astype(np.float32)
    return Volume(voxels=voxels, geometry=geometry, quantity=quantity)


def maps_on(geometry: VolumeGeometry) -> tuple[VoxelMap, VoxelMap]:
    values = np.random.default_rng(6).random(geometry.shape).astype(np.float32)
    values[:, :, 0] = 0
    meanings = (MapMeaning.PROBABILITY, MapMeaning.SALIENCY)
    first, second = (
        VoxelMap(name=name, meaning=meaning, values=values, geometry=geometry)
        for name, meaning in zip(("anterior hippocampus", "atrophy"), meanings, strict=True)
    )
    return first, second


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes every output of a label map on the given headers; returns the study's folder."""

    def run(
        segmentation: Segmentation,
        sources: Sequence[pydicom.Dataset],
        *,
        said: Prediction | None = None,
        quantity: Quantity = Quantity.ARBITRARY,
        study: Study | None = None,
        outputs: Sequence[str] = OUTPUTS.names(),
    ) -> Path:
        monkeypatch.setattr(result, "source_datasets", lambda _: list(sources))
        scored = Scored(
            prediction=said or full_prediction(),
            segmentation=segmentation,
            segmentation_series_uid=f"{cases.STUDY_UID}.7",
            maps=maps_on(segmentation.geometry),
        )
        volume = image_on(segmentation.geometry, quantity)
        return write_study_outputs(scored, study or cases.study(), tmp_path / "out", outputs, volume=volume)

    return run


def objects(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.glob("*.dcm"))}


def texts(dataset: pydicom.Dataset) -> str:
    return " ".join(str(element.value) for element in dataset.iterall() if element.VR != "SQ")


@pytest.mark.parametrize(
    ("kind", "direction"),
    [
        pytest.param(kind, direction, id=f"{kind} {name}", marks=() if name in often else pytest.mark.slow)
        for kind, often in (("MR", {"sagittal", "flipped"}), ("CT", {"axial", "oblique"}), ("enhanced MR", {"oblique"}))
        for name, direction in ORIENTATIONS.items()
    ],
)
def test_others_accept_every_object(write: Write, kind: str, direction: NDArray[np.float64]) -> None:
    geometry = cases.grid(direction)
    enhanced = kind == "enhanced MR"
    sources = cases.enhanced_series(geometry) if enhanced else cases.classic_series(geometry, kind)
    folder = write(
        cases.label_map(geometry), sources, quantity=Quantity.HOUNSFIELD if kind == "CT" else Quantity.ARBITRARY
    )
    found = objects(folder)
    assert set(found) == OBJECTS
    for path in found.values():
        assert dciodvfy_errors(path) == [], path.name
        dcmtk("dcmdump", path)


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
@pytest.mark.parametrize("make", [cases.classic_series, cases.enhanced_series], ids=["classic", "enhanced"])
def test_a_viewer_finds_the_same_masks(
    write: Write, direction: NDArray[np.float64], make: Callable[[VolumeGeometry], list[pydicom.Dataset]]
) -> None:
    geometry = cases.grid(direction)
    segmentation, sources = cases.label_map(geometry), make(geometry)
    folder = write(segmentation, sources, outputs=("dicom_seg",))
    masks = as_a_viewer_reads(folder / "seg.dcm", sources)
    k = np.arange(geometry.shape[2])
    if "NumberOfFrames" in sources[0]:
        k = np.random.default_rng(3).permutation(geometry.shape[2])
    for segment in segmentation.segments:
        np.testing.assert_array_equal(masks[segment.name], (segmentation.label_map == segment.number)[:, :, k])


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_a_map_comes_back_voxel_for_voxel(write: Write, direction: NDArray[np.float64]) -> None:
    geometry = cases.grid(direction)
    sources = cases.classic_series(geometry)
    folder = write(cases.label_map(geometry), sources)
    for path, truth in zip((folder / "map-1.dcm", folder / "map-2.dcm"), maps_on(geometry), strict=True):
        read = hd.imread(path)
        volume = read.get_volume(apply_real_world_transform=True, rtol=1e-3)
        voxels = np.asarray(volume.array).transpose(2, 1, 0)
        affine = np.asarray(volume.affine)[:, [2, 1, 0, 3]]
        corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in voxels.shape), 1]])
        first, last = (corners @ (np.linalg.inv(geometry.affine.matrix) @ affine).T)[:, :3].round(3)
        k = np.linspace(first[2], last[2], voxels.shape[2]).astype(int)
        assert sorted(k) == list(range(1, geometry.shape[2])), "the slice that holds nothing is left out"
        assert (first[:2].tolist(), last[:2].tolist()) == ([0, 0], [n - 1 for n in geometry.shape[:2]])
        np.testing.assert_allclose(voxels, truth.values[:, :, k], atol=1 / 65535)
        assert len(read.PerFrameFunctionalGroupsSequence) == geometry.shape[2] - 1


def test_every_object_refers_to_the_source_and_joins_its_study(write: Write) -> None:
    geometry = cases.grid(cases.oblique())
    sources = cases.classic_series(geometry, "CT")
    folder = write(cases.label_map(geometry), sources, quantity=Quantity.HOUNSFIELD)
    uids = {str(source.SOPInstanceUID) for source in sources}
    series = set()
    for name, path in objects(folder).items():
        dataset = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate"):
            assert dataset[keyword].value == sources[0][keyword].value, (name, keyword)
        assert dataset.AccessionNumber == "ACC1"
        assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("medfuse", "medfuse")
        assert dataset.DeviceSerialNumber == cases.MODEL.weights_sha256[:16]
        assert dataset.SoftwareVersions
        assert "research use" in dataset.SeriesDescription
        named = {str(one.value) for one in dataset.iterall() if one.keyword == "ReferencedSOPInstanceUID"}
        if name != "sr.dcm":
            assert named <= uids, name
        assert named & uids, name
        series.add((str(dataset.SeriesInstanceUID), int(dataset.SeriesNumber), str(dataset.Modality)))
    assert len(series) == 5, "one series a kind"
    assert sorted(number for _, number, _ in series) == [1004, 2004, 3004, 4004, 5004]


CHARSETS = [
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 192", "Müller^Jörg"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
]


@pytest.mark.parametrize(("charset", "name"), CHARSETS, ids=["Latin-1", "UTF-8", "Japanese"])
@pytest.mark.parametrize("label", ["hippocampus", "海馬"], ids=["ascii label", "Japanese label"])
def test_names_in_any_character_set_stay_readable_in_every_object(
    write: Write, tmp_path: Path, charset: str | list[str], name: str, label: str
) -> None:
    geometry = cases.grid()
    sources = []
    for n, source in enumerate(cases.classic_series(geometry)):
        source.SpecificCharacterSet, source.PatientName = charset, name
        source.save_as(tmp_path / f"{n}", enforce_file_format=True)
        sources.append(pydicom.dcmread(tmp_path / f"{n}"))
    said = dataclasses.replace(
        full_prediction(),
        findings=(dataclasses.replace(FINDING, name=label),),
        model=dataclasses.replace(cases.MODEL, name=label),
    )
    folder = write(cases.label_map(geometry, (label,)), sources, said=said)
    for path in objects(folder).values():
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName) == name, path.name
        assert dciodvfy_errors(path) == [], path.name
    assert pydicom.dcmread(folder / "seg.dcm").SegmentSequence[0].SegmentLabel == label
    assert label in texts(pydicom.dcmread(folder / "sr.dcm"))


def test_a_label_map_without_a_voxel(write: Write) -> None:
    geometry = cases.grid()
    folder = write(cases.label_map(geometry, empty=True), cases.classic_series(geometry, "CT"))
    found = objects(folder)
    assert set(found) == OBJECTS - {"key-slice-1.dcm", "key-slice-2.dcm"}
    for path in found.values():
        assert dciodvfy_errors(path) == [], path.name
    report = hd.sr.srread(folder / "sr.dcm")
    for group in report.content.get_volumetric_roi_measurement_groups():
        (volume,) = group.get_measurements()
        assert (volume.name, volume.value) == (codes.SCT.Volume, 0.0)


def test_overlapping_segments_each_come_back_whole(write: Write) -> None:
    geometry = cases.grid(cases.oblique())
    bits = np.random.default_rng(11).integers(0, 8, geometry.shape).astype(np.uint8)
    bits[:, :, -1] = 0
    segments = tuple(
        Segment(number=n, name=name) for n, name in enumerate(("whole tumour", "core", "enhancing"), start=1)
    )
    segmentation = Segmentation.overlapping(bits, geometry, segments)
    sources = cases.classic_series(geometry)
    folder = write(segmentation, sources)
    masks = as_a_viewer_reads(folder / "seg.dcm", sources)
    assert pydicom.dcmread(folder / "seg.dcm").SegmentsOverlap == "YES"
    measured = measure(segmentation)
    seg = hd.seg.segread(folder / "seg.dcm")
    uids = [source.SOPInstanceUID for source in sources]
    voxels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for n, (segment, one) in enumerate(zip(segments, measured, strict=True)):
        truth = (bits >> n) & 1 == 1
        np.testing.assert_array_equal(masks[segment.name], truth)
        np.testing.assert_array_equal(voxels[..., n].transpose(2, 1, 0), truth)
        assert one.volume_mm3 == pytest.approx(np.count_nonzero(truth) * geometry.voxel_volume_mm3)
    for path in objects(folder).values():
        assert dciodvfy_errors(path) == [], path.name
    assert "overlaps" in (folder / "prediction.json").read_text()


def test_a_map_of_an_explanation_is_written_by_itself(tmp_path: Path) -> None:
    geometry = cases.grid(cases.oblique())
    path = tmp_path / "maps" / "atrophy.dcm"
    write_parametric_map(maps_on(geometry)[1], cases.classic_series(geometry), path, model=cases.MODEL)
    assert dciodvfy_errors(path) == []
    mapping = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.LUTExplanation, mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning) == (
        "atrophy",
        "Saliency",
    )


# The report


def groups_of(report: hd.sr.Comprehensive3DSR) -> dict[str, hd.sr.MeasurementsAndQualitativeEvaluations]:
    return {group.tracking_identifier: group for group in report.content.get_image_measurement_groups()}


def numbers(group: object) -> dict[tuple[str, str | None], tuple[float, str]]:
    return {
        (one.name.meaning, None if one.derivation is None else one.derivation.meaning): (one.value, one.unit.value)
        for one in group.get_measurements()  # type: ignore[attr-defined]
    }


def answers(group: object) -> dict[str, str]:
    return {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "quantity", "mean"),
    [
        ("CT", Quantity.HOUNSFIELD, ("Attenuation Coefficient", "[hnsf'U]")),
        ("MR", Quantity.ARBITRARY, ("MR signal intensity", "1")),
    ],
)
def test_the_report_holds_what_was_measured(write: Write, kind: str, quantity: Quantity, mean: tuple[str, str]) -> None:
    geometry = cases.grid(cases.oblique())
    segmentation = cases.label_map(geometry)
    folder = write(segmentation, cases.classic_series(geometry, kind), quantity=quantity)
    seg, report = pydicom.dcmread(folder / "seg.dcm"), hd.sr.srread(folder / "sr.dcm")
    measured: tuple[SegmentMeasurement, ...] = measure(segmentation, image_on(geometry, quantity))
    groups = report.content.get_volumetric_roi_measurement_groups()
    for group, item, one in zip(groups, seg.SegmentSequence, measured, strict=True):
        reference = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == item.SegmentNumber
        assert group.tracking_uid == item.TrackingUID
        assert group.finding_type.value == "5366008"
        assert group.finding_sites[0].topographical_modifier.meaning in {"Anterior", "Posterior"}
        assert numbers(group) == {
            ("Volume", None): (pytest.approx(one.volume_mm3, rel=1e-5), "mm3"),
            ("Long axis", None): (pytest.approx(one.axial_diameter_mm, rel=1e-5), "mm"),
            ("Maximum 3D Diameter of a Mesh", None): (pytest.approx(one.diameter_mm, rel=1e-5), "mm"),
            (mean[0], "Mean"): (pytest.approx(one.mean, rel=1e-5), mean[1]),
        }


def test_the_report_holds_what_the_model_said(write: Write) -> None:
    geometry = cases.grid()
    folder = write(cases.label_map(geometry), cases.classic_series(geometry))
    report = hd.sr.srread(folder / "sr.dcm")
    groups = groups_of(report)
    assert list(groups) == ["atrophy", "impairment", "stage", "age", "input"]
    atrophy = groups["atrophy"]
    assert atrophy.finding_type == codes.SCT.Atrophy
    assert numbers(atrophy) == {
        ("Probability", None): (0.25, "1"),
        ("Probability", "Standard Deviation"): (0.0625, "1"),
        ("operating point", None): (0.125, "1"),
    }
    assert answers(atrophy) == {
        "Presence of property": "Present",
        "prediction set": "Undetermined",
        "calibration": "calibrated",
    }
    private = groups["impairment"].finding_type
    assert (private.scheme_designator, private.value, private.meaning) == ("99MEDFUSE", "IMPAIRMENT", "impairment")
    assert numbers(groups["impairment"]) == {("Probability", None): (1.0, "1")}
    assert answers(groups["impairment"]) == {"calibration": "not calibrated"}
    assert answers(groups["stage"]) == {"stage": "II"}
    assert numbers(groups["stage"])["probability of II", None] == (0.75, "1")
    assert numbers(groups["age"]) == {("age", None): (63.25, "{years}")}
    assert answers(groups["input"]) == {"quality flag": "FEW SLICES", "familiarity": "unfamiliar"}
    assert numbers(groups["input"])["distance to training", None] == (3.5, "1")
    assert (report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag) == (
        "UNVERIFIED",
        "COMPLETE",
        "PRELIMINARY",
    )
    said = texts(report)
    for words in (RESEARCH_USE, "12 slices, expected at least 20", cases.MODEL.weights_sha256, "medfuse hippocampus"):
        assert words in said
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99MEDFUSE"


def test_dcmtk_reads_the_report(write: Write) -> None:
    geometry = cases.grid()
    folder = write(cases.label_map(geometry), cases.classic_series(geometry))
    xml = dcmtk("dsr2xml", folder / "sr.dcm")
    assert "<value>78.75</value>" in xml
    assert '<report type="Comprehensive 3D SR">' in xml
    dump = dcmtk("dsrdump", folder / "sr.dcm")
    assert '"Probability")="0.25"' in dump


def test_a_model_that_was_trained_on_the_answer_says_so(write: Write) -> None:
    geometry = cases.grid()
    leaking = dataclasses.replace(full_prediction(), model=dataclasses.replace(cases.MODEL, leakage_allowed=True))
    folder = write(cases.label_map(geometry), cases.classic_series(geometry), said=leaking)
    assert "trained on report sections that state the answer" in texts(pydicom.dcmread(folder / "sr.dcm"))


# Pictures and pages


@pytest.mark.parametrize("kind", ["CT", "MR"])
def test_a_key_slice_shows_the_outline_and_nobody(write: Write, kind: str) -> None:
    from medfuse.outputs.colours import rgb_of

    geometry = cases.grid()
    quantity = Quantity.HOUNSFIELD if kind == "CT" else Quantity.ARBITRARY
    sources = cases.classic_series(geometry, kind)
    folder = write(cases.label_map(geometry), sources, quantity=quantity)
    seg = pydicom.dcmread(folder / "seg.dcm")
    measured = measure(cases.label_map(geometry))
    for number, one in enumerate(measured, start=1):
        image = pydicom.dcmread(folder / f"key-slice-{number}.dcm")
        pixels = image.pixel_array
        assert min(pixels.shape[:2]) >= 384
        assert (pixels == rgb_of(number)).all(axis=-1).any(), "its outline in its colour"
        (reference,) = image.SourceImageSequence
        assert one.key_slice is not None
        assert reference.ReferencedSOPInstanceUID == sources[one.key_slice].SOPInstanceUID
        assert image.BurnedInAnnotation == "NO"
        assert RESEARCH_USE in image.ImageComments
        assert image.PatientOrientation == ["L", "P"]
        lab = hd.color.CIELabColor.from_rgb(*rgb_of(number)).value
        assert list(seg.SegmentSequence[number - 1].RecommendedDisplayCIELabValue) == list(lab)


def test_the_page_inside_is_the_page_beside(write: Write) -> None:
    geometry = cases.grid()
    folder = write(cases.label_map(geometry), cases.classic_series(geometry))
    page = (folder / "result.pdf").read_bytes()
    inside = pydicom.dcmread(folder / "result-pdf.dcm")
    assert page.startswith(b"%PDF-")
    assert inside.EncapsulatedDocument[: inside.EncapsulatedDocumentLength] == page
    assert inside.EncapsulatedDocumentLength == len(page)
    assert len(inside.EncapsulatedDocument) % 2 == 0
    assert (inside.MIMETypeOfEncapsulatedDocument, inside.BurnedInAnnotation) == ("application/pdf", "NO")
    assert len(inside.SourceInstanceSequence) == geometry.shape[2]


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["ct-dicom", "brain-mr-dicom", "lidc-dicom"])
def test_others_accept_the_objects_of_real_studies(tmp_path: Path, shared_data: Path, folder: str) -> None:
    """The largest series of the first study, with a ball drawn in its middle; pixels are read from the files."""
    study = find_studies(shared_data / folder).studies[0]
    series = max(study.series, key=lambda one: one.acquisition.n_slices or len(one.files))
    volume = read_volume(series)
    geometry = volume.geometry
    index = np.indices(geometry.shape).transpose(1, 2, 3, 0) - np.array(geometry.shape) // 2
    away_mm = np.linalg.norm(index * geometry.affine.spacing_mm, axis=-1)
    labels = (away_mm <= 20).astype(np.uint8)
    segments = (Segment(number=1, name="nodule"),)
    said = dataclasses.replace(full_prediction(), study_instance_uid=study.study_instance_uid)
    scored = Scored(
        prediction=said,
        segmentation=Segmentation(label_map=labels, geometry=geometry, segments=segments),
        segmentation_series_uid=series.key,
    )
    results = write_study_outputs(scored, study, tmp_path, OUTPUTS.names())
    found = objects(results)
    assert set(found) == {"seg.dcm", "sr.dcm", "key-slice-1.dcm", "result-pdf.dcm"}
    for path in found.values():
        assert dciodvfy_errors(path) == [], path.name
        dcmtk("dcmdump", path)
    np.testing.assert_array_equal(read_segmentation(found["seg.dcm"], geometry).label_map, labels)
    (group,) = hd.sr.srread(found["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    mean = next(value for (_, derivation), (value, _) in numbers(group).items() if derivation == "Mean")
    assert mean == pytest.approx(float(volume.voxels[labels == 1].mean(dtype=np.float64)), rel=1e-4)
