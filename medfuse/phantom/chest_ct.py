"""Family `chest_ct`: chest CT in Hounsfield units, with a lung nodule or without, of smokers and others.

Axes of the anatomy are LPS mm around the middle of the chest: x to the left, y to the back, z to the head.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain import Affine, Code, Segment, VolumeGeometry
from medfuse.phantom.case import Case, Family, MadeSeries
from medfuse.phantom.plan import StudyPlan
from medfuse.phantom.reports import ChestFacts, chest_report
from medfuse.phantom.shapes import (
    Field,
    Points,
    blend,
    cover,
    ellipsoid,
    equivalent_diameter_mm,
    joined,
    line,
    nearest,
    place,
    positions,
    texture,
    tubes,
)
from medfuse.seeding import stream

NODULE_SHARE = 0.48
SMOKER_SHARE = 0.55
DIAMETERS_MM = (20.0, 42.0)
PACK_YEARS = (20, 60)
GROWTH = 1.15
"""Factor on the diameter from a patient's first study to the second."""

RISK_THRESHOLD = 40.0

KERNELS = (("B31f", 0.55, 14.0), ("STANDARD", 0.5, 18.0), ("FC08", 0.5, 20.0), ("B60f", 0.3, 34.0))
"""Convolution kernel, its blur in voxels, its noise in HU."""


def malignancy_risk(diameter_mm: float, pack_years: float, age: float) -> int:
    """1 when a nodule is large for a patient who smoked little and is young, or smaller for one who did and is not.

    The rule of this phantom, of no clinical meaning: diameter + 0.5 pack-years + 0.2 (age - 63) >= 40, with a nodule.

    Args:
        diameter_mm: Of the sphere of the nodule's volume; 0 without a nodule.
        pack_years: 0 for who never smoked.
        age: Years.
    """
    return int(diameter_mm > 0 and diameter_mm + 0.5 * pack_years + 0.2 * (age - 63) >= RISK_THRESHOLD)


class ChestCT(Family):
    """Chest CT: `nodule` is in the image, `smoking_history` in the text, `malignancy_risk` takes both."""

    name = "chest_ct"
    study_description = "CT CHEST"
    findings = ("nodule", "smoking_history", "malignancy_risk")
    segments = (
        Segment(
            number=1,
            name="lung",
            category=Code(value="91723000", scheme="SCT", meaning="Anatomical Structure"),
            type=Code(value="39607008", scheme="SCT", meaning="Lung"),
        ),
        Segment(
            number=2,
            name="nodule",
            category=Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"),
            type=Code(value="27925004", scheme="SCT", meaning="Nodule"),
        ),
    )
    channels = ("ct",)
    ages = (45, 82)
    quantities = 3

    def make(self, plan: StudyPlan) -> Case:
        """Make one chest CT, the same for the same plan."""
        nodule, smoking, where = plan.patient.quantiles
        geometry = chest_grid(plan)
        image, label_map = _chest(plan, geometry, _wanted_diameter(nodule, plan.visit), where)
        volume = int(np.count_nonzero(label_map == 2)) * geometry.voxel_volume_mm3
        diameter = round(equivalent_diameter_mm(volume), 2)
        pack_years = _pack_years(smoking)
        labels = {
            "nodule": int(volume > 0),
            "smoking_history": int(pack_years > 0),
            "malignancy_risk": malignancy_risk(diameter, pack_years, plan.age),
        }
        facts = ChestFacts(age=plan.age, sex=plan.patient.sex, pack_years=pack_years, nodule_diameter_mm=diameter)
        return Case(
            geometry=geometry,
            series=(chest_series(plan, image),),
            reference="ct",
            label_map=label_map,
            labels=labels,
            facts=facts.as_dict(),
            report=chest_report(stream(plan.seed, self.name, "text", plan.index), facts, labels, plan),
        )


def _wanted_diameter(quantile: float, visit: int) -> float:
    """The nodule's diameter in mm that a quantile stands for; 0 above the share of nodules."""
    if quantile >= NODULE_SHARE:
        return 0.0
    small, large = DIAMETERS_MM
    return (small + quantile / NODULE_SHARE * (large - small)) * GROWTH**visit


def _pack_years(quantile: float) -> int:
    if quantile >= SMOKER_SHARE:
        return 0
    few, many = PACK_YEARS
    return round(few + quantile / SMOKER_SHARE * (many - few))


def chest_grid(plan: StudyPlan) -> VolumeGeometry:
    """An axial grid of a patient's own protocol: 64 to 80 columns, 28 to 40 slices."""
    rng = stream(plan.seed, "chest_ct", "grid", plan.patient.index)
    spacing = float(rng.choice([4.0, 4.25, 4.5, 4.75, 5.0]))
    thickness = float(rng.choice([6.0, 6.5, 7.0, 7.5, 8.0]))
    columns = min(80, int(np.ceil(325 / spacing)))
    rows = min(columns, max(64, int(np.ceil(260 / spacing))))
    slices = int(np.clip(round(float(rng.uniform(222, 242)) / thickness), 28, 40))
    shape = (columns, rows, slices)
    shift = stream(plan.seed, "chest_ct", "position", plan.index).uniform(-6, 6, 3)
    origin = -(np.array(shape) - 1) / 2 * (spacing, spacing, thickness) + np.round(shift, 1)
    return VolumeGeometry(
        shape=shape,
        affine=Affine.from_parts(origin_mm=origin, direction=np.eye(3), spacing_mm=(spacing, spacing, thickness)),
    )


def _chest(
    plan: StudyPlan, geometry: VolumeGeometry, diameter_mm: float, where: float
) -> tuple[Field, NDArray[np.uint8]]:
    """Hounsfield units and label map of one chest."""
    chest = chest_of(plan, geometry)
    label_map = chest.inside.astype(np.uint8)
    if diameter_mm > 0:
        nodule = chest.add_nodule(
            stream(plan.seed, "chest_ct", "nodule", plan.patient.index), chest.inside, diameter_mm, where
        )
        label_map[nodule] = 2
    return chest.image, label_map


@dataclass(slots=True, eq=False)
class Chest:
    """A chest that nodules may be added to.

    Args:
        geometry: The grid.
        image: Hounsfield units.
        lung: Fraction of each voxel that is lung.
        rng: Goes on making textures.
    """

    geometry: VolumeGeometry
    image: Field
    lung: Field
    rng: np.random.Generator

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The voxels of the lungs."""
        return self.lung > 0.5

    def add_nodule(
        self, rng: np.random.Generator, allowed: NDArray[np.bool_], diameter_mm: float, where: float
    ) -> NDArray[np.bool_]:
        """Paint a nodule into the image; gives its voxels.

        Args:
            rng: Of its shape.
            allowed: Where it may lie.
            diameter_mm: Of a sphere of its volume.
            where: Which of the places with room, 0 to 1.
        """
        nodule = _nodule(rng, self.geometry, allowed, diameter_mm, where)
        edge = np.maximum(ndimage.gaussian_filter(nodule.astype(np.float32), 0.45), 0.92 * nodule)
        blend(self.image, edge * (self.lung > 0.1), 35.0 + 18.0 * texture(self.rng, self.geometry, 7.0))
        return nodule


def chest_of(plan: StudyPlan, geometry: VolumeGeometry) -> Chest:
    """A patient's chest without nodules."""
    rng = stream(plan.seed, "chest_ct", "anatomy", plan.patient.index)
    size = rng.uniform(0.94, 1.04)
    points = positions(geometry) / np.float32(size)
    soft = float(geometry.affine.spacing_mm.mean()) / 1.5
    image = _body(rng, points, soft, geometry)
    lungs, air = _lungs(rng, points, geometry)
    lung = cover(lungs, soft)
    blend(image, lung, air)
    blend(image, tubes(rng, geometry, *_ribs(size), step_mm=3.0), 420.0)
    blend(image, lung * tubes(rng, geometry, *_vessels(rng, size), step_mm=2.0), 30.0)
    return Chest(geometry, image, lung, rng)


def _body(rng: np.random.Generator, points: Points, soft: float, geometry: VolumeGeometry) -> Field:
    """Air, skin, fat, muscle, mediastinum, spine and the organs below the diaphragm, HU."""
    image = np.full(points.shape[1:], -1000.0, dtype=np.float32)
    fat = rng.uniform(8, 16)
    shoulder = 1 - 0.10 * np.clip((points[2] - 60) / 60, 0, 1)
    trunk = np.stack([points[0] / shoulder, points[1] / shoulder, np.zeros_like(points[2])])
    skin = ellipsoid(trunk, (0, 0, 0), (152, 112, 1000))
    blend(image, cover(skin, soft), -95.0 + 8 * texture(rng, geometry, 12.0))
    blend(image, cover(skin + np.float32(fat), soft), 48.0 + 10 * texture(rng, geometry, 15.0))
    blend(image, cover(ellipsoid(points, (0, 0, 10), (34, 66, 110)), soft), 10.0)
    blend(image, cover(ellipsoid(points, (14, -20, -38), (52, 46, 48)), soft), 42.0)
    blend(image, cover(ellipsoid(points, (0, 78, 0), (17, 15, 1000)), soft), 240.0 + 60 * texture(rng, geometry, 8.0))
    table = np.stack([np.zeros_like(points[0]), points[1], np.zeros_like(points[0])])
    blend(image, cover(ellipsoid(table, (0, 124, 0), (1000, 5, 1000)), soft) * (np.abs(points[0]) < 150), -250.0)
    return image


def _lungs(rng: np.random.Generator, points: Points, geometry: VolumeGeometry) -> tuple[Field, Field]:
    """Signed distance to both lungs and the trachea's surroundings, and what fills them, HU."""
    density = rng.uniform(-870, -820)
    sides = [ellipsoid(points, (side * 72, 4, -4), (50 - 4 * (side > 0), 80, 118)) for side in (-1, 1)]
    lungs = np.minimum(*sides)
    heart = ellipsoid(points, (16, -22, -40), (56, 50, 54))
    dome = ellipsoid(points, (0, 0, -172), (150, 130, 100 + rng.uniform(-6, 6)))
    trachea = ellipsoid(np.stack([points[0], points[1], np.maximum(40 - points[2], 0)]), (0, 10, 0), (9, 9, 9))
    solid = np.minimum(heart, dome)
    shape = np.minimum(np.maximum(lungs, -solid), trachea)
    gradient = 0.25 * points[1]
    return shape, density + gradient + 28 * texture(rng, geometry, 9.0)


def _ribs(size: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ten pairs of ribs that sink towards the front, and the breastbone."""
    paths = []
    for level in range(10):
        angle = np.linspace(-0.42 * np.pi, 0.45 * np.pi, 110)
        arc = np.stack([130 * np.cos(angle), 92 * np.sin(angle), 118 - 24.0 * level - 32 * (1 - np.sin(angle))], axis=1)
        paths += [arc * size, arc * size * (-1, 1, 1)]
    paths.append(line((0, -90 * size, 80 * size), (0, -92 * size, -60 * size), 3.0))
    return joined(paths, [4.5] * 20 + [8.0])


def _vessels(rng: np.random.Generator, size: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vessels that run from each hilum outwards and fork once."""
    paths, radii = [], []
    for side in (-1, 1):
        hilum = np.array([side * 30.0, 8.0, 8.0])
        for _ in range(11):
            aim = rng.standard_normal(3) * (0.7, 0.9, 1.2) + (side * 0.9, 0, 0)
            fork = hilum + aim / np.linalg.norm(aim) * rng.uniform(28, 45)
            paths.append(line(hilum * size, fork * size, 2.0))
            radii.append(rng.uniform(2.6, 4.2))
            for _ in range(2):
                turn = aim / np.linalg.norm(aim) + rng.standard_normal(3) * 0.45
                paths.append(line(fork * size, (fork + turn / np.linalg.norm(turn) * rng.uniform(25, 55)) * size, 2.0))
                radii.append(rng.uniform(1.4, 2.4))
    return joined(paths, radii)


def _nodule(
    rng: np.random.Generator, geometry: VolumeGeometry, lung: NDArray[np.bool_], diameter_mm: float, where: float
) -> NDArray[np.bool_]:
    """The voxels of a lobulated nodule within a lung."""
    volume = np.pi / 6 * diameter_mm**3
    centre = geometry.affine.apply(place(lung, geometry, DIAMETERS_MM[1] * 0.5 * GROWTH, where))
    radii = diameter_mm / 2 * rng.uniform(0.85, 1.15, 3)
    distance = ellipsoid(positions(geometry, centre), (0, 0, 0), radii) + 1.2 * texture(rng, geometry, 8.0)
    return nearest(distance, lung, volume, geometry.voxel_volume_mm3)


def chest_series(plan: StudyPlan, image: Field) -> MadeSeries:
    """The scanner's part: kernel, noise, and how values are stored."""
    rng = stream(plan.seed, "chest_ct", "scan", plan.index)
    kernel, blur, noise = KERNELS[int(rng.integers(len(KERNELS)))]
    hounsfield = ndimage.gaussian_filter(image, (blur, blur, 0.0))
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.5, 0.5, 0))
    hounsfield += np.float32(noise) * grain / grain.std()
    signed = bool(rng.integers(2))
    intercept = 0 if signed else -1024
    stored = np.rint(np.clip(hounsfield, -1024, 3071)) - intercept
    thickness = {"B31f": "3", "STANDARD": "2", "FC08": "4", "B60f": "5"}[kernel]
    return MadeSeries(
        channel="ct",
        number=int(thickness),
        voxels=stored.astype(np.int16 if signed else np.uint16),
        ascending=bool(rng.integers(2)),
        attributes={
            "SeriesDescription": str(rng.choice([f"CHEST {kernel}", f"Thorax {kernel}", f"CT CHEST W/O {kernel}"])),
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "BodyPartExamined": "CHEST",
            "ScanOptions": "HELICAL MODE",
            "KVP": str(rng.choice([100, 120, 140])),
            "DataCollectionDiameter": "500",
            "GantryDetectorTilt": "0",
            "TableHeight": "140",
            "RotationDirection": "CW",
            "ExposureTime": "500",
            "XRayTubeCurrent": str(int(rng.integers(80, 320))),
            "Exposure": str(int(rng.integers(40, 160))),
            "FilterType": "BODY FILTER",
            "ConvolutionKernel": kernel,
            "RescaleIntercept": str(intercept),
            "RescaleSlope": "1",
            "RescaleType": "HU",
            "WindowCenter": ["-600", "40"],
            "WindowWidth": ["1500", "400"],
            "WindowCenterWidthExplanation": ["LUNG", "MEDIASTINUM"],
        },
    )
