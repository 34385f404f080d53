"""Known rotations and shifts are found: of the made brain, and of a real one with the UIDs and positions changed."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medfuse.domain import Acquisition, Affine, Modality, Series, Study, Volume, VolumeGeometry
from medfuse.ingest import find_studies
from medfuse.phantom.brain_mr import BrainMR
from medfuse.phantom.plan import plan_studies
from medfuse.preprocess import ChannelRule, Recipe, Registration, prepare, prepare_study, registration
from medfuse.preprocess.alignment import align, matrix_of
from medfuse.preprocess.grid import resample
from medfuse.preprocess.registration import RigidMatch, mutual_information, register_rigid

Matrix = NDArray[np.float64]
SURFACE_MM = 80.0
"""About how far the surface of a brain lies from its middle."""


def rigid(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float], about: Any) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = np.asarray(shift_mm) + about - matrix[:3, :3] @ about
    return matrix


def surface_error_mm(found: Matrix, truth: Matrix, middle: NDArray[np.float64]) -> float:
    """The largest distance between where two matrices put a point of the brain's surface."""
    points = np.random.default_rng(0).normal(size=(500, 3))
    points = middle + SURFACE_MM * points / np.linalg.norm(points, axis=1, keepdims=True)
    there = [points @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (found, truth)]
    return float(np.linalg.norm(there[0] - there[1], axis=1).max())


def moved(volume: Volume, by: Matrix) -> Volume:
    """The same voxels elsewhere: the matrix to be found is `by`."""
    affine = Affine(by @ volume.geometry.affine.matrix)
    return Volume(voxels=volume.voxels, geometry=VolumeGeometry(shape=volume.geometry.shape, affine=affine))


def resampled(volume: Volume) -> Volume:
    """The same anatomy on another, oblique grid of other spacing."""
    turned = Affine.from_parts(
        origin_mm=volume.geometry.centre_mm,
        direction=Rotation.from_euler("xyz", [4, -7, 11], degrees=True).as_matrix(),
        spacing_mm=(3.0, 3.2, 4.5),
    )
    grid = VolumeGeometry(shape=(66, 78, 44), affine=turned.shifted((-33.0, -39.0, -22.0)))
    return Volume(voxels=resample(volume.voxels, volume.geometry, grid), geometry=grid)


@pytest.fixture(scope="module")
def brain() -> dict[str, Volume]:
    """The sequences of one made brain, by channel."""
    family = BrainMR()
    plans = plan_studies("brain_mr", studies=6, seed=5, ages=family.ages, quantities=family.quantities)
    case = family.make(next(plan for plan in plans if not plan.lacks_series))
    return {one.channel: Volume(voxels=one.voxels, geometry=case.geometry) for one in case.series}


@pytest.mark.parametrize(
    ("channel", "angles", "shift"),
    [
        ("t1ce", (15, -12, 10), (0, 0, 30)),
        ("flair", (-8, 6, 12), (25, 10, -18)),
        pytest.param("t2", (3, 3, -20), (150, -300, 400), marks=pytest.mark.slow),
    ],
)
def test_a_known_movement_of_the_made_brain_is_found(
    brain: dict[str, Volume], channel: str, angles: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    fixed = brain["t1"]
    truth = rigid(angles, shift, fixed.geometry.centre_mm)
    match = register_rigid(fixed, moved(resampled(brain[channel]), truth))
    assert match.accepted, match.refusal
    assert surface_error_mm(match.matrix_lps, truth, fixed.geometry.centre_mm) < 1.0  # voxels are 3.5 to 5 mm
    assert 1 <= match.nmi_before < match.nmi_after < 2
    assert match.rotation_deg == pytest.approx(np.degrees(Rotation.from_matrix(truth[:3, :3]).magnitude()), abs=1)


def test_the_same_input_gives_the_same_matrix(brain: dict[str, Volume], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "LEVELS_MM", (6.0, 4.0))
    moving = moved(brain["flair"], rigid((2, 3, 4), (5, 6, 7), np.zeros(3)))
    one, other = (register_rigid(brain["t1"], moving).matrix_lps for _ in range(2))
    assert np.array_equal(one, other)


def test_what_lies_right_already_is_left_there(brain: dict[str, Volume]) -> None:
    match = register_rigid(brain["t1"], brain["t2"])
    assert match.refusal == "it does not improve on geometry alone"


def test_a_sheared_series_is_found_where_it_is(brain: dict[str, Volume]) -> None:
    """Slices of a tilted gantry: the grid leans, the anatomy does not."""
    fixed = brain["t1"]
    shear = fixed.geometry.affine.matrix.copy()
    shear[:3, 2] += 0.25 * shear[:3, 1] / np.linalg.norm(shear[:3, 1]) * np.linalg.norm(shear[:3, 2])
    leaning = VolumeGeometry(shape=fixed.geometry.shape, affine=Affine(shear))
    voxels = resample(brain["t1ce"].voxels, fixed.geometry, leaning)
    truth = rigid((3, -4, 5), (10, 5, -8), fixed.geometry.centre_mm)
    match = register_rigid(fixed, moved(Volume(voxels=voxels, geometry=leaning), truth))
    assert match.accepted
    assert surface_error_mm(match.matrix_lps, truth, fixed.geometry.centre_mm) < 1.5


def test_mutual_information_runs_from_unrelated_to_the_same() -> None:
    rng = np.random.default_rng(0)
    grid = VolumeGeometry(shape=(30, 30, 30), affine=Affine(np.eye(4)))
    one, other = rng.normal(size=(2, *grid.shape)).astype(np.float32)
    apart = np.eye(4)
    apart[0, 3] = 100
    assert mutual_information((one, grid), (one, grid), np.eye(4)) == (pytest.approx(2), 1.0)
    assert mutual_information((one, grid), (-3 * one, grid), np.eye(4))[0] == pytest.approx(2)
    assert mutual_information((one, grid), (other, grid), np.eye(4))[0] < 1.1
    assert mutual_information((one, grid), (other, grid), apart) == (1.0, 0.0)
    assert mutual_information((np.ones_like(one), grid), (other, grid), np.eye(4))[0] == 1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"LARGEST_ROTATION_DEG": 2.0}, "turns by"),
        ({"LARGEST_SHIFT_MM": 0.0}, "shifts by"),
        ({"LEAST_OVERLAP": 1.01}, "overlap"),
        ({"LEAST_GAIN": 1.0}, "does not improve"),
    ],
)
def test_beyond_a_limit_it_is_not_used(
    brain: dict[str, Volume], monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], says: str
) -> None:
    monkeypatch.setattr(registration, "LEVELS_MM", (6.0,))
    for name, value in changes.items():
        monkeypatch.setattr(registration, name, value)
    truth = rigid((10, 0, 0), (5, 5, 5), brain["t1"].geometry.centre_mm)
    match = register_rigid(brain["t1"], moved(brain["t1ce"], truth))
    assert says in match.refusal
    assert not match.accepted


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 40, 1)])
def test_images_without_information_are_refused_and_not_a_crash(shape: tuple[int, int, int]) -> None:
    flat = Volume(voxels=np.zeros(shape, np.float32), geometry=VolumeGeometry(shape=shape, affine=Affine(np.eye(4))))
    assert not register_rigid(flat, flat).accepted


def a_series(uid: str, frame: str) -> Series:
    acquisition = Acquisition(frame_of_reference_uid=frame)
    return Series(
        series_instance_uid=uid, modality=Modality.MR, description=uid, files=(Path(uid),), acquisition=acquisition
    )


@pytest.mark.parametrize(
    ("mode", "frames", "runs", "says"),
    [
        ("auto", ("1.1", "1.1"), False, "shares the frame of reference"),
        ("auto", ("1.1", "1.2"), True, "registered to the first"),
        ("auto", ("", ""), False, "not stated"),
        ("auto", ("1.1", ""), False, "not stated"),
        ("always", ("1.1", "1.1"), True, "registered to the first"),
        ("always", ("", ""), True, "registered to the first"),
        ("never", ("1.1", "1.2"), False, "as configured"),
    ],
)
def test_when_a_registration_runs(
    brain: dict[str, Volume],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    frames: tuple[str, str],
    runs: bool,
    says: str,
) -> None:
    found = rigid((1, 2, 3), (4, 5, 6), np.zeros(3))
    match = RigidMatch(matrix_lps=found, nmi_before=1.1, nmi_after=1.3, rotation_deg=3.7, shift_mm=8.8)
    monkeypatch.setattr(registration, "register_rigid", lambda *_: match)
    reference, series = a_series("a", frames[0]), a_series("b", frames[1])
    made, sentence = align(series, brain["t2"], reference, brain["t1"], Registration(mode))
    assert says in sentence
    assert (made is not None) is runs
    if made is not None:
        np.testing.assert_array_equal(matrix_of(made), found)
        assert (made.reference, made.applied, made.nmi_before, made.nmi_after) == ("a", True, 1.1, 1.3)


def test_a_refused_match_is_flagged_and_not_applied(
    brain: dict[str, Volume], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    match = RigidMatch(
        matrix_lps=np.eye(4), nmi_before=1.0, nmi_after=1.0, rotation_deg=0, shift_mm=0, refusal="only 3% overlap"
    )
    monkeypatch.setattr(registration, "register_rigid", lambda *_: match)
    made, sentence = align(a_series("b", "1.2"), brain["t2"], a_series("a", "1.1"), brain["t1"], Registration.AUTO)
    assert made is not None
    assert not made.applied
    assert matrix_of(made) is None
    assert sentence.startswith("registration not used: only 3% overlap")
    assert "although the frames of reference differ" in sentence
    assert "series b" in caplog.text


def test_a_channel_is_resampled_through_its_matrix(brain: dict[str, Volume], monkeypatch: pytest.MonkeyPatch) -> None:
    truth = rigid((3, -4, 8), (20, -10, 15), brain["t1"].geometry.centre_mm)
    voxels = {"t1": brain["t1"], "flair": moved(brain["flair"], truth)}
    monkeypatch.setattr(prepare, "read_volume", lambda series, **_: voxels[series.description])
    study = Study(
        study_instance_uid="1",
        patient_key="p",
        path=Path(),
        series=(replace(a_series("t1", "1.1"), number=1), replace(a_series("flair", "1.2"), number=2)),
    )
    recipe = Recipe(
        channels=(ChannelRule(name="t1", match="t1"), ChannelRule(name="flair", match="flair")),
        spacing_mm=(4.0, 4.0, 5.0),
        size=(32, 32, 32),
    )
    whole = prepare_study(study, recipe)
    voxels["flair"] = brain["flair"]
    wanted = prepare_study(study, replace(recipe, registration=Registration.NEVER))
    inside = wanted.image[1] > np.median(wanted.image[1])
    assert np.corrcoef(whole.image[1][inside], wanted.image[1][inside])[0, 1] > 0.97
    assert [one.channel for one in whole.preparation] == ["t1", "flair"]
    assert whole.preparation[0].alignment is None
    alignment = whole.preparation[1].alignment
    assert alignment is not None
    assert alignment.applied
    assert surface_error_mm(np.array(alignment.matrix_lps), truth, brain["t1"].geometry.centre_mm) < 1.5
    assert wanted.preparation[1].alignment is None


@pytest.fixture(scope="module")
def real_copy(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Matrix]]:
    """The real glioblastoma study, its FLAIR and T2 each in a frame of reference of its own, turned and shifted."""
    root = tmp_path_factory.mktemp("real") / "study"
    shutil.copytree(shared_data / "brain-mr-dicom", root)
    found = {one.description: one for one in find_studies(root).studies[0].series}
    middle = np.mean([pydicom.dcmread(path).ImagePositionPatient for path in found["T1pre_reg"].files], axis=0)
    truths = {
        "FLAIR_reg": rigid((5, -4, 8), (6, -9, 7), middle + np.array([110, 110, 0])),
        "T2_reg": rigid((10, 8, -12), (150, -300, 400), middle + np.array([110, 110, 0])),
    }
    for name, truth in truths.items():
        for path in found[name].files:
            image = pydicom.dcmread(path)
            position = truth[:3, :3] @ np.array(image.ImagePositionPatient, float) + truth[:3, 3]
            axes = np.reshape(image.ImageOrientationPatient, (2, 3)).astype(float) @ truth[:3, :3].T
            image.ImagePositionPatient = [round(float(value), 6) for value in position]
            image.ImageOrientationPatient = [round(float(value), 8) for value in axes.ravel()]
            image.FrameOfReferenceUID = pydicom.uid.generate_uid(entropy_srcs=[name])
            image.save_as(path)
    return root, truths


@pytest.mark.slow
@pytest.mark.realdata
def test_a_real_study_of_several_frames_of_reference_comes_onto_one_grid(
    real_copy: tuple[Path, dict[str, Matrix]], shared_data: Path
) -> None:
    root, truths = real_copy
    recipe = Recipe(
        channels=tuple(ChannelRule(preset=name) for name in ("t1", "t1ce", "flair", "t2")),
        spacing_mm=(2.0, 2.0, 6.5),
        size=(32, 32, 32),
    )
    (study,) = find_studies(root).studies
    prepared = prepare_study(study, recipe)
    middle = prepared.source_grid.centre_mm
    made = {one.channel: one.alignment for one in prepared.preparation}
    assert (made["t1"], made["t1ce"]) == (None, None)
    for channel, name in (("flair", "FLAIR_reg"), ("t2", "T2_reg")):
        alignment = made[channel]
        assert alignment is not None
        assert alignment.applied
        # Slices of 6.5 mm, and series that were registered to one another before with an error of their own.
        assert surface_error_mm(np.array(alignment.matrix_lps), truths[name], middle) < 1.5
    original = prepare_study(find_studies(shared_data / "brain-mr-dicom").studies[0], recipe)
    assert original.grid.is_close(prepared.grid)
    for index in (2, 3):
        inside = original.image[index] > 0
        assert np.corrcoef(original.image[index][inside], prepared.image[index][inside])[0, 1] > 0.85


@pytest.mark.slow
@pytest.mark.realdata
def test_real_series_that_lie_on_one_another_stay_there(shared_data: Path) -> None:
    recipe = Recipe(
        channels=(ChannelRule(preset="t1"), ChannelRule(preset="flair")),
        spacing_mm=(4.0, 4.0, 6.5),
        size=(32, 32, 32),
        registration=Registration.ALWAYS,
    )
    prepared = prepare_study(find_studies(shared_data / "brain-mr-dicom").studies[0], recipe)
    alignment = prepared.preparation[1].alignment
    assert alignment is not None
    assert not alignment.applied
    assert "does not improve" in prepared.preparation[1].notes[-1]
