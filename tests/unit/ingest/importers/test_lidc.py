"""LIDC's readings: outlines to pixels, readers to a consensus, and what cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medfuse.domain import Affine, LabelValue, Study, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest import read_volume, source_datasets
from medfuse.ingest.importers.lidc import LIDC, findings_of, read_lidc_segmentation
from medfuse.ingest.importers.lidc_xml import Consensus, Reading, nodules_of, read_reading
from tests.importer_layouts import CT_ORIGIN, CT_SPACING, CT_VOXELS, PLANTED, lidc, nodule, reading, ring, roi, text
from tests.unit.ingest.made_dicom import uid

GRID = VolumeGeometry(
    shape=(24, 20, 5),
    affine=Affine.from_parts(origin_mm=CT_ORIGIN, direction=np.eye(3), spacing_mm=CT_SPACING),
)
SQUARE = ring(4, 4, 12, 12)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lidc(tmp_path)
    return tmp_path


@pytest.fixture
def xml(root: Path) -> Path:
    return root / "LIDC-IDRI-0001" / "study" / "series" / "069.xml"


def read(tmp_path: Path, *sessions: str) -> Reading:
    text(tmp_path / "r.xml", reading("1.2.3", *sessions))
    found = read_reading(tmp_path / "r.xml")
    assert found is not None
    return found


def mask_of(tmp_path: Path, *sessions: str, consensus: Consensus | None = None) -> np.ndarray:
    text(tmp_path / "r.xml", reading("1.2.3", *sessions))
    return read_lidc_segmentation(tmp_path / "r.xml", GRID, consensus=consensus).label_map


def test_outlines_are_no_part_of_the_nodule(xml: Path) -> None:
    """Two readers drew the ring from 4 to 12 with a hole from 6 to 9, the third one the ring from 5 to 13."""
    segmentation = read_lidc_segmentation(xml, GRID)
    expected = np.zeros(GRID.shape, bool)
    expected[5:12, 5:12, 1:4] = True
    expected[6:10, 6:10, 2] = False
    assert np.array_equal(segmentation.label_map == 1, expected)
    assert [(s.name, s.algorithm_type) for s in segmentation.segments] == [("nodule", "MANUAL")]


@pytest.mark.parametrize(
    ("agreement", "of_slice_2"),
    [(1.0, (slice(6, 12), slice(6, 12))), (0.3, (slice(5, 13), slice(5, 13)))],
)
def test_the_consensus_is_configurable(xml: Path, agreement: float, of_slice_2: tuple[slice, slice]) -> None:
    labels = read_lidc_segmentation(xml, GRID, consensus=Consensus(agreement=agreement)).label_map
    expected = np.zeros((24, 20), bool)
    expected[of_slice_2] = True
    if agreement == 1.0:
        expected[6:10, 6:10] = False
    else:
        expected[5, 12] = expected[12, 5] = False  # held by nobody: inside neither square
    assert np.array_equal(labels[:, :, 2] == 1, expected)
    assert labels[:, :, 1].any() == (agreement < 1)


@pytest.mark.parametrize(("readers", "n_nodules"), [(1, 2), (2, 1), (3, 1), (4, 0)])
def test_nodules_of_too_few_readers_are_left_out(xml: Path, readers: int, n_nodules: int) -> None:
    labels = read_lidc_segmentation(xml, GRID, consensus=Consensus(min_readers=readers)).label_map
    assert ndimage.label(labels)[1] == n_nodules


def test_voxels_are_placed_by_the_headers_beside_the_file(xml: Path) -> None:
    """A grid that is not the series' own gets the labels by position in the patient."""
    flipped = Affine.from_parts(
        origin_mm=GRID.affine.apply((23, 0, 4)), direction=np.diag([-1.0, 1, -1]), spacing_mm=CT_SPACING
    )
    labels = read_lidc_segmentation(xml, VolumeGeometry(shape=GRID.shape, affine=flipped)).label_map
    assert np.array_equal(labels[::-1, :, ::-1], read_lidc_segmentation(xml, GRID).label_map)


def test_a_reading_far_from_its_series_needs_the_series_grid(tmp_path: Path) -> None:
    rois = roi(34.0, SQUARE)
    labels = mask_of(tmp_path, nodule(rois, 3), nodule(rois, 3))
    assert labels[5:12, 5:12, 2].all()
    assert labels.sum() == 49
    for wrong in (roi(35.0, SQUARE), roi(50.0, SQUARE), roi(34.0, ring(4, 4, 30, 12))):
        with pytest.raises(UnreadableFileError, match="its series is not beside it") as caught:
            mask_of(tmp_path, nodule(wrong, 3), nodule(wrong, 3))
        assert caught.value.reason == "SERIES_MISSING"


def test_an_outline_of_one_pixel_width_keeps_its_pixels(tmp_path: Path) -> None:
    line = roi(34.0, [(4, 5), (5, 5), (6, 5)])
    assert mask_of(tmp_path, nodule(line, 3), nodule(line, 3)).sum() == 3


def test_corners_alone_are_joined_by_lines(tmp_path: Path) -> None:
    corners = roi(34.0, [(4, 4), (12, 4), (12, 12), (4, 12)])
    assert mask_of(tmp_path, nodule(corners, 3), nodule(corners, 3)).sum() == 49


def test_two_nodules_of_one_reader_in_one_cluster_count_once(tmp_path: Path) -> None:
    two = nodule(roi(34.0, SQUARE), 3) + nodule(roi(34.0, ring(10, 4, 16, 12)), 3)
    (found,) = nodules_of(read(tmp_path, two))
    assert found.n_readers == 1


def test_nodules_that_touch_on_no_slice_are_apart(tmp_path: Path) -> None:
    found = nodules_of(read(tmp_path, nodule(roi(34.0, SQUARE), 3), nodule(roi(36.0, SQUARE), 3)))
    assert [one.n_readers for one in found] == [1, 1]


def test_ratings_are_averaged(xml: Path) -> None:
    found = read_reading(xml)
    assert found is not None
    assert found.n_readers == 4
    first = next(one for one in nodules_of(found) if one.n_readers == 3)
    assert first.mean_rating("malignancy") == 4
    assert first.mean_rating("subtlety") == 5
    assert first.mean_rating("texture") is None
    assert [mark.is_nodule for mark in found.marks].count(False) == 1
    assert sum(mark.is_small for mark in found.marks) == 2


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ((4, 3), LabelValue.PRESENT),
        ((3, 3), LabelValue.UNCERTAIN),
        ((4, 2), LabelValue.UNCERTAIN),
        ((2, 3), LabelValue.ABSENT),
        ((None, None), LabelValue.NOT_ASSESSED),
    ],
)
def test_malignancy_of_a_study(tmp_path: Path, ratings: tuple[int | None, ...], expected: LabelValue) -> None:
    found = findings_of([read(tmp_path, *(nodule(roi(34.0, SQUARE), r) for r in ratings))], Consensus())
    assert found["malignant_nodule"] is expected
    assert found["nodule"] is LabelValue.PRESENT


def test_what_one_reader_saw_is_uncertain(tmp_path: Path) -> None:
    found = findings_of([read(tmp_path, nodule(roi(34.0, SQUARE), 5) + nodule(roi(34.0, [(1, 1)])), "")], Consensus())
    assert found == {
        "nodule": LabelValue.UNCERTAIN,
        "small_nodule": LabelValue.UNCERTAIN,
        "malignant_nodule": LabelValue.NOT_ASSESSED,
    }


def test_the_importer_takes_the_number_of_readers(root: Path) -> None:
    importer = LIDC(min_readers=4)
    studies = importer.studies(root).studies
    labels = importer.labels(root, studies)
    first = next(study for study in studies if study.accession_number == "first")
    assert labels is not None
    assert labels.values[first.study_instance_uid]["nodule"] is LabelValue.UNCERTAIN


def test_a_reading_in_a_folder_of_its_own_joins_its_series(root: Path) -> None:
    studies = {study.accession_number: study for study in LIDC().studies(root).studies}
    assert [path.name for path in studies["second"].segmentations] == ["158.xml"]
    assert studies["second"].path == root
    assert studies["third"].segmentations == ()
    assert studies["first"].path == root / "LIDC-IDRI-0001" / "study" / "series"


def test_the_film_is_no_study(root: Path) -> None:
    found = LIDC().studies(root)
    assert "film" not in {study.accession_number for study in found.studies}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<a>",
        "no xml",
        '<!DOCTYPE x [<!ENTITY a "b">]>' + reading("1.2").partition("?>")[2],
        reading("1.2", nodule("<roi><imageZposition>x</imageZposition></roi>", 3)),
        reading("1.2", nodule(roi(float("nan"), SQUARE), 3)),
        reading("1.2", nodule(roi(1.0, [(-1, 0)]), 3)),
        reading("1.2", nodule(roi(1.0, [(0, 99999)]), 3)),
        reading("1.2", nodule(roi(1.0, []), 3)),
    ],
)
def test_what_is_no_reading_is_refused(tmp_path: Path, content: str) -> None:
    text(tmp_path / "r.xml", content)
    with pytest.raises(UnreadableFileError, match=r"^r\.xml ") as caught:
        read_lidc_segmentation(tmp_path / "r.xml", GRID)
    assert caught.value.reason == "UNREADABLE_SEGMENTATION"
    assert not [word for word in PLANTED if word in str(caught.value)]


def test_the_reading_of_a_film_is_no_segmentation(tmp_path: Path) -> None:
    text(tmp_path / "r.xml", reading("1.2", root="IdriReadMessage"))
    assert read_reading(tmp_path / "r.xml") is None
    with pytest.raises(UnreadableFileError, match="no reading of a LIDC CT"):
        read_lidc_segmentation(tmp_path / "r.xml", GRID)


def test_another_encoding_hides_no_entities(tmp_path: Path) -> None:
    hidden = '<!DOCTYPE x [<!ENTITY a "b">]>' + reading("1.2").partition("?>")[2]
    (tmp_path / "r.xml").write_bytes(hidden.encode("utf-16"))
    with pytest.raises(UnreadableFileError, match="defines entities or is not UTF-8"):
        read_reading(tmp_path / "r.xml")


def test_slices_are_found_by_their_instance_before_their_position(xml: Path) -> None:
    (study,) = [s for s in LIDC().studies(xml.parent).studies if s.accession_number == "first"]
    slices = [str(header.SOPInstanceUID) for header in source_datasets(study.series[0])]
    sessions = [nodule(roi(999.0, SQUARE, sop=slices[3]), 3)] * 2
    text(xml, reading(study.series[0].series_instance_uid, *sessions))
    assert set(np.argwhere(read_lidc_segmentation(xml, GRID).label_map)[:, 2]) == {3}


@pytest.mark.parametrize("values", [{"min_readers": 0}, {"agreement": 0.0}, {"agreement": 1.1}])
def test_a_consensus_checks_itself(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a consensus takes"):
        Consensus(**values)  # type: ignore[arg-type]


@pytest.mark.realdata
def test_a_real_study_of_the_collection(shared_data: Path, tmp_path: Path) -> None:
    """The slab of a real CT, with a made reading in a folder beside it."""
    place = shared_data / "lidc-dicom"
    (study,) = LIDC().studies(place).studies
    assert LIDC().matches(place)
    (series,) = study.series
    volume = read_volume(series)
    z_mm = float(volume.geometry.affine.apply((0, 0, 3))[2])
    session = nodule(roi(z_mm, ring(200, 300, 220, 310)), 5)
    text(tmp_path / "r.xml", reading(series.series_instance_uid, session, session))
    segmentation = read_lidc_segmentation(tmp_path / "r.xml", volume.geometry)
    assert np.argwhere(segmentation.label_map).min(axis=0).tolist() == [201, 301, 3]
    assert np.argwhere(segmentation.label_map).max(axis=0).tolist() == [219, 309, 3]


def test_the_made_series_is_what_the_tests_take_it_for(root: Path) -> None:
    study: Study = next(s for s in LIDC().studies(root).studies if s.accession_number == "first")
    volume = read_volume(study.series[0])
    assert volume.geometry.is_close(GRID)
    assert np.array_equal(volume.voxels, CT_VOXELS)
    assert study.series[0].series_instance_uid == uid("series", "first")
