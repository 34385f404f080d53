"""Family `brain_mr`: four MR sequences of a brain with a tumour, with edema alone, or without either.

Axes of the anatomy are LPS mm around the middle of the brain. The slices are oblique, like those of a technologist who
aligns them with the skull base; every sequence has the same grid and frame of reference.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medfuse.domain import Affine, Code, Segment, VolumeGeometry
from medfuse.phantom.case import Case, Family, MadeSeries
from medfuse.phantom.plan import StudyPlan
from medfuse.phantom.reports import BrainFacts, brain_report
from medfuse.phantom.shapes import Field, Points, cover, ellipsoid, nearest, place, positions, texture
from medfuse.seeding import stream

CORE_SHARE = 0.48
EDEMA_SHARE = 0.70
"""Up to this quantile there is edema, with a core or (above `CORE_SHARE`) without one."""
SEIZURE_SHARE = 0.45
CORE_DIAMETERS_MM = (18.0, 38.0)
EDEMA_ML = (15.0, 90.0)
GROWTH = 1.15
RISK_THRESHOLD = 45.0

TISSUES = ("air", "scalp", "skull", "fluid", "grey", "white", "edema", "rim", "necrosis", "sinus")
INTENSITIES: dict[str, tuple[float, ...]] = {
    "t1": (0.01, 1.00, 0.10, 0.20, 0.52, 0.72, 0.42, 0.44, 0.28, 0.30),
    "t1ce": (0.01, 1.00, 0.10, 0.20, 0.54, 0.74, 0.43, 1.20, 0.30, 1.10),
    "flair": (0.01, 0.65, 0.08, 0.10, 0.58, 0.46, 1.05, 0.78, 0.50, 0.20),
    "t2": (0.01, 0.70, 0.08, 1.25, 0.68, 0.46, 1.00, 0.80, 1.15, 0.15),
}
"""Signal of each tissue in each sequence, relative to bright fat."""

DESCRIPTIONS = {
    "t1": ("AX T1 PRE", "T1 SE TRA", "T1W AXIAL", "Ax T1 FSE"),
    "t1ce": ("T1 POST GAD", "AX T1 +C", "T1W AXIAL POST", "Ax T1 FSE POST"),
    "flair": ("AX FLAIR", "FLAIR TRA", "AX T2 FLAIR", "Ax FLAIR FS"),
    "t2": ("T2 TSE", "AX T2 FSE", "T2W AXIAL", "Ax T2 FRFSE"),
}
"""Series Description (0008,103E); the wording at one position is one site's."""

ACQUISITIONS: dict[str, dict[str, Any]] = {
    "t1": {"ScanningSequence": "SE", "RepetitionTime": "650", "EchoTime": "10", "EchoTrainLength": "1"},
    "t1ce": {
        "ScanningSequence": "SE",
        "RepetitionTime": "650",
        "EchoTime": "10",
        "EchoTrainLength": "1",
        "ContrastBolusAgent": "GADOTERIC ACID",
        "ContrastBolusRoute": "IV",
    },
    "flair": {
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": "9000",
        "EchoTime": "120",
        "InversionTime": "2500",
        "EchoTrainLength": "24",
    },
    "t2": {"ScanningSequence": "SE", "RepetitionTime": "4200", "EchoTime": "95", "EchoTrainLength": "16"},
}
SPARE_CHANNELS = ("flair", "t1", "t2")
"""Sequences that may be missing; never the contrast-enhanced one, which the SEG refers to."""


def high_grade_risk(edema_ml: float, age: float) -> int:
    """1 when there is more edema than the patient's age makes harmless.

    The rule of this phantom, of no clinical meaning: edema + 1.5 (age - 55) >= 45, with edema.

    Args:
        edema_ml: Volume of the segment `edema`, mL.
        age: Years.
    """
    return int(edema_ml > 0 and edema_ml + 1.5 * (age - 55) >= RISK_THRESHOLD)


class BrainMR(Family):
    """Brain MR: `enhancing_lesion` is in the image, `seizures` in the text, `high_grade_risk` takes both."""

    name = "brain_mr"
    study_description = "MR BRAIN WITH AND WITHOUT CONTRAST"
    findings = ("enhancing_lesion", "seizures", "high_grade_risk")
    segments = (
        Segment(
            number=1,
            name="lesion_core",
            category=Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"),
            type=Code(value="108369006", scheme="SCT", meaning="Neoplasm"),
        ),
        Segment(
            number=2,
            name="edema",
            category=Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"),
            type=Code(value="79654002", scheme="SCT", meaning="Edema"),
        ),
    )
    channels = ("t1", "t1ce", "flair", "t2")
    ages = (28, 82)
    quantities = 4

    def make(self, plan: StudyPlan) -> Case:
        """Make one brain MR study, the same for the same plan."""
        lesion, seizures, edema, where = plan.patient.quantiles
        geometry = _geometry(plan)
        tissues, label_map = _head(plan, geometry, _wanted(lesion, edema, plan.visit), where)
        core_ml, edema_ml = (
            round(int(np.count_nonzero(label_map == n)) * geometry.voxel_volume_mm3 / 1000, 3) for n in (1, 2)
        )
        labels = {
            "enhancing_lesion": int(core_ml > 0),
            "seizures": int(seizures < SEIZURE_SHARE),
            "high_grade_risk": high_grade_risk(edema_ml, plan.age),
        }
        facts = BrainFacts(
            age=plan.age,
            sex=plan.patient.sex,
            seizures=seizures < SEIZURE_SHARE,
            core_ml=core_ml,
            edema_ml=edema_ml,
        )
        missing = _missing(plan)
        return Case(
            geometry=geometry,
            series=tuple(s for s in _sequences(plan, geometry, tissues) if s.channel not in missing),
            missing=missing,
            reference="t1ce",
            label_map=label_map,
            labels=labels,
            facts=facts.as_dict(),
            report=brain_report(stream(plan.seed, self.name, "text", plan.index), facts, labels, plan),
        )


def _missing(plan: StudyPlan) -> tuple[str, ...]:
    if not plan.lacks_series:
        return ()
    return (SPARE_CHANNELS[int(stream(plan.seed, "brain_mr", "missing", plan.index).integers(len(SPARE_CHANNELS)))],)


def _wanted(lesion: float, edema: float, visit: int) -> tuple[float, float]:
    """Wanted diameter of the core in mm and volume of the edema in mL, 0 for none."""
    low, high = CORE_DIAMETERS_MM
    core = (low + lesion / CORE_SHARE * (high - low)) * GROWTH**visit if lesion < CORE_SHARE else 0.0
    little, much = EDEMA_ML
    around = (little + edema * (much - little)) * GROWTH**visit if lesion < EDEMA_SHARE else 0.0
    return core, around


def _geometry(plan: StudyPlan) -> VolumeGeometry:
    """An oblique grid of a patient's own protocol: 48 to 64 voxels of 3.5 to 4 mm, 26 to 30 slices of 5 mm."""
    rng = stream(plan.seed, "brain_mr", "grid", plan.patient.index)
    columns, rows, spacing = ((48, 52, 4.0), (52, 56, 3.75), (52, 60, 3.5), (56, 56, 3.75), (64, 64, 3.5))[
        int(rng.integers(5))
    ]
    shape = (columns, rows, int(rng.integers(26, 31)))
    tilt = Rotation.from_euler("xyz", [-rng.uniform(6, 20), rng.uniform(-4, 4), rng.uniform(-5, 5)], degrees=True)
    direction = np.asarray(tilt.as_matrix(), dtype=np.float64)
    steps = np.array([spacing, spacing, 5.0])
    shift = stream(plan.seed, "brain_mr", "position", plan.index).uniform(-4, 4, 3)
    origin = direction @ (-(np.array(shape) - 1) / 2 * steps) + shift
    return VolumeGeometry(
        shape=shape,
        affine=Affine.from_parts(origin_mm=np.round(origin, 3), direction=direction, spacing_mm=steps),
    )


def _head(
    plan: StudyPlan, geometry: VolumeGeometry, wanted: tuple[float, float], where: float
) -> tuple[dict[str, Field], NDArray[np.uint8]]:
    """How much of each voxel is of each tissue, painted in order, and the label map."""
    rng = stream(plan.seed, "brain_mr", "anatomy", plan.patient.index)
    points = positions(geometry) / np.float32(rng.uniform(0.95, 1.03))
    soft = float(geometry.affine.spacing_mm.mean()) / 1.5
    layers = _normal(rng, points, soft, geometry)
    tissue = (layers["grey"] > 0.5) & (layers["fluid"] < 0.3)
    label_map = np.zeros(geometry.shape, dtype=np.uint8)
    growth = stream(plan.seed, "brain_mr", "lesion", plan.patient.index)
    core, edema = _lesion(growth, geometry, tissue, wanted, where)
    layers["edema"] = _softened(edema | core) * (layers["fluid"] < 0.5)
    layers["rim"] = _softened(core)
    depth = ndimage.distance_transform_edt(core, sampling=geometry.affine.spacing_mm)
    layers["necrosis"] = _softened(depth > max(7.0, 0.6 * float(depth.max())))
    label_map[edema] = 2
    label_map[core] = 1
    return layers, label_map


def _softened(mask: NDArray[np.bool_]) -> Field:
    """A mask whose outside voxels take up a little of their neighbours, as partial volume does."""
    whole = mask.astype(np.float32)
    return np.asarray(np.maximum(ndimage.gaussian_filter(whole, 0.4), 0.92 * whole), dtype=np.float32)


def _normal(rng: np.random.Generator, points: Points, soft: float, geometry: VolumeGeometry) -> dict[str, Field]:
    """Scalp, skull, fluid, grey and white matter, and the sinus at the back that also takes up contrast."""
    skin = ellipsoid(points, (0, 2, -2), (81, 100, 92))
    brain = ellipsoid(points, (0, 0, 0), (66, 84, 72))
    folds = texture(rng, geometry, 6.0)
    cortex = brain + 5.5 + 3.5 * folds
    deep = np.minimum(*[ellipsoid(points, (side * 20, 2, -2), (10, 18, 11)) for side in (-1, 1)])
    horns = np.minimum(*[ellipsoid(points, (side * 11, 2, 13), (7, 32, 8)) for side in (-1, 1)])
    cleft = np.maximum(np.abs(points[0]) - 1.0, 18 - points[2])
    grooves = np.maximum(np.maximum(brain + 1.0, -brain - 11.0), 7 * np.abs(texture(rng, geometry, 9.0)) - 1.3)
    fluid = cover(np.minimum(np.minimum(horns, cleft), grooves), soft)
    inner = cover(brain, soft)
    bone = cover(brain - 7.0, soft)
    return {
        "scalp": cover(skin, soft),
        "skull": cover(skin + 6.0, soft),
        "outer": bone,
        "grey": inner,
        "white": cover(cortex, soft) * (1 - cover(deep, soft)),
        "fluid": fluid * inner,
        "sinus": cover(ellipsoid(points, (0, 86, 20), (6, 6, 30)), soft),
    }


def _lesion(
    rng: np.random.Generator,
    geometry: VolumeGeometry,
    tissue: NDArray[np.bool_],
    wanted: tuple[float, float],
    where: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The voxels of the core and of the edema around it; both within brain tissue."""
    diameter, edema_ml = wanted
    voxel = geometry.voxel_volume_mm3
    points = positions(geometry, geometry.affine.apply(place(tissue, geometry, 14.0, where)))
    distance = ellipsoid(points, (0, 0, 0), 10 * rng.uniform(0.8, 1.25, 3))
    core = nearest(distance + 1.0 * texture(rng, geometry, 8.0), tissue, np.pi / 6 * diameter**3, voxel)
    around = tissue & ~core
    spread = distance + 4.0 * texture(rng, geometry, 11.0)
    return core, nearest(spread, around, edema_ml * 1000, voxel)


_ORDER = (
    ("scalp", "scalp"),
    ("skull", "skull"),
    ("outer", "fluid"),
    ("grey", "grey"),
    ("white", "white"),
    ("fluid", "fluid"),
    ("edema", "edema"),
    ("rim", "rim"),
    ("necrosis", "necrosis"),
    ("sinus", "sinus"),
)
"""Layers from the outside in, and the tissue that each is painted with."""


def _sequences(plan: StudyPlan, geometry: VolumeGeometry, layers: dict[str, Field]) -> tuple[MadeSeries, ...]:
    """The four sequences of a study, in the order that they were taken."""
    rng = stream(plan.seed, "brain_mr", "scan", plan.index)
    site = int(rng.integers(4))
    shares = _shares(layers)
    bias = np.exp(0.10 * texture(rng, geometry, 60.0))
    order = ("t1", "t2", "flair", "t1ce") if rng.integers(2) else ("t2", "flair", "t1", "t1ce")
    scale = float(rng.uniform(250, 1400))
    signed, ascending, field = bool(rng.integers(2)), bool(rng.integers(2)), str(rng.choice(["1.5", "3"]))
    made = []
    for number, channel in enumerate(order, start=2):
        stored = _scan(rng, shares, channel, bias, scale * float(rng.uniform(0.6, 1.6)))
        made.append(
            MadeSeries(
                channel=channel,
                number=number,
                voxels=stored.astype(np.int16 if signed else np.uint16),
                ascending=ascending,
                attributes=_attributes(channel, site, field, int(stored.max())),
            )
        )
    return tuple(made)


def _shares(layers: dict[str, Field]) -> dict[str, Field]:
    """Fraction of each voxel that each tissue holds, once every layer has covered those before it."""
    left = np.ones_like(layers["grey"])
    shares: dict[str, Field] = {}
    for layer, tissue in reversed(_ORDER):
        part = left * layers[layer]
        shares[tissue] = shares[tissue] + part if tissue in shares else part
        left = left - part
    return {**shares, "air": left}


def _scan(rng: np.random.Generator, shares: dict[str, Field], channel: str, bias: Field, scale: float) -> Field:
    """One sequence's stored values: signal, coil bias and Rician noise (Gudbjartsson and Patz 1995)."""
    signal = np.zeros_like(bias)
    for tissue, value in zip(TISSUES, INTENSITIES[channel], strict=True):
        signal += np.float32(value) * shares[tissue]
    signal *= bias
    real, imaginary = rng.standard_normal((2, *bias.shape), dtype=np.float32) * np.float32(0.03)
    return np.asarray(np.rint(scale * np.hypot(signal + real, imaginary)), dtype=np.float32)


def _attributes(channel: str, site: int, field: str, brightest: int) -> dict[str, Any]:
    return {
        "SeriesDescription": DESCRIPTIONS[channel][site],
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "BodyPartExamined": "BRAIN",
        "SequenceVariant": "SK",
        "ScanOptions": None,
        "MRAcquisitionType": "2D",
        "MagneticFieldStrength": field,
        "ImagedNucleus": "1H",
        "NumberOfAverages": "1",
        "FlipAngle": "90",
        "WindowCenter": str(brightest // 3),
        "WindowWidth": str(max(1, brightest * 2 // 3)),
        **ACQUISITIONS[channel],
    }
