"""Family `named_nodule`: chest CT with two nodules alike, of which the report names one by its lobe.

Nothing in the image says which is meant: to delineate the named one, a network has to read. Lobes are simplified to the
upper and lower half of each lung.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Code, Segment
from medfuse.phantom.case import Case, Family
from medfuse.phantom.chest_ct import chest_grid, chest_of, chest_series
from medfuse.phantom.plan import StudyPlan
from medfuse.phantom.reports import ChestFacts, named_nodule_report
from medfuse.phantom.shapes import Points, equivalent_diameter_mm, positions
from medfuse.seeding import stream

PLACES = tuple(product(("left", "right"), ("upper", "lower")))
DIAMETERS_MM = (22.0, 34.0)
MIDDLE_MM = -4.0
"""Where the halves of the lungs meet, LPS z."""
APART_MM = 14.0
"""Between the halves, so that a nodule is not in both."""


class NamedNodule(Family):
    """Chest CT with two nodules: the segment is the one that the indication names."""

    name = "named_nodule"
    study_description = "CT CHEST"
    findings = ()
    segments = (
        Segment(
            number=1,
            name="named nodule",
            category=Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"),
            type=Code(value="27925004", scheme="SCT", meaning="Nodule"),
        ),
    )
    channels = ("ct",)
    ages = (45, 82)
    quantities = 2

    def make(self, plan: StudyPlan) -> Case:
        """Make one chest CT, the same for the same plan."""
        rng = stream(plan.seed, self.name, "nodules", plan.index)
        named, other = (PLACES[int(n)] for n in rng.permutation(len(PLACES))[:2])
        chest = chest_of(plan, chest_grid(plan))
        points = positions(chest.geometry)
        label_map = np.zeros(chest.geometry.shape, dtype=np.uint8)
        for place in sorted((named, other)):  # the order of painting says nothing either
            diameter, where = rng.uniform(*DIAMETERS_MM), rng.random()
            nodule = chest.add_nodule(rng, chest.inside & _lobe(points, *place), diameter, where)
            if place == named:
                label_map[nodule] = 1
        volume = int(np.count_nonzero(label_map)) * chest.geometry.voxel_volume_mm3
        facts = ChestFacts(
            age=plan.age,
            sex=plan.patient.sex,
            pack_years=0,
            nodule_diameter_mm=round(equivalent_diameter_mm(volume), 2),
        )
        return Case(
            geometry=chest.geometry,
            series=(chest_series(plan, chest.image),),
            reference="ct",
            label_map=label_map,
            labels={},
            facts=facts.as_dict() | {"named": " ".join(named), "other": " ".join(other)},
            report=named_nodule_report(
                stream(plan.seed, self.name, "text", plan.index), facts, side=named[0], level=named[1], plan=plan
            ),
        )


def _lobe(points: Points, side: str, level: str) -> NDArray[np.bool_]:
    """The half of a lung on a patient's left or right, above or below the middle; LPS x grows to the left."""
    x, _, z = points
    beside = x > 0 if side == "left" else x < 0
    above = z - MIDDLE_MM if level == "upper" else MIDDLE_MM - z
    return np.asarray(beside & (above > APART_MM / 2))
