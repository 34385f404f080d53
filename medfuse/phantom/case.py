"""What a family makes of a plan: voxels, label map, facts and text, before any of it is a file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Segment, VolumeGeometry
from medfuse.phantom.plan import StudyPlan
from medfuse.phantom.truth import Fact


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MadeSeries:
    """One image series.

    Args:
        channel: The role it plays in a study, e.g. `flair`.
        number: Series Number (0020,0011).
        voxels: Stored values, `int16` or `uint16`, shape `(I, J, K)`.
        ascending: Whether instance numbers grow along k.
        attributes: DICOM keyword -> value, of the series and its acquisition, the same for every slice.
    """

    channel: str
    number: int
    voxels: NDArray[Any]
    ascending: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One made study.

    Args:
        geometry: The grid of every series and of the label map, LPS mm.
        series: In the order of their numbers.
        missing: Channels that were not taken.
        reference: Channel whose series the SEG refers to.
        label_map: `uint8`, shape `(I, J, K)`.
        labels: Finding -> 1 or 0.
        facts: What the labels follow from.
        report: The whole report, whether it is written or not.
    """

    geometry: VolumeGeometry
    series: tuple[MadeSeries, ...]
    missing: tuple[str, ...] = ()
    reference: str
    label_map: NDArray[np.uint8]
    labels: Mapping[str, int]
    facts: Mapping[str, Fact]
    report: str


class Family(ABC):
    """A kind of study that can be made.

    Attributes:
        name: What `write_phantom` calls it; part of every random stream.
        study_description: Study Description (0008,1030).
        findings: In the order of the columns of `labels.csv`.
        segments: What the numbers in the label maps are.
        channels: The image series of a complete study.
        ages: Youngest and oldest age at a first study, years.
        quantities: How many clinical quantities `Patient.quantiles` holds.
    """

    name: ClassVar[str]
    study_description: ClassVar[str]
    findings: ClassVar[tuple[str, ...]]
    segments: ClassVar[tuple[Segment, ...]]
    channels: ClassVar[tuple[str, ...]]
    ages: ClassVar[tuple[int, int]]
    quantities: ClassVar[int]

    @abstractmethod
    def make(self, plan: StudyPlan) -> Case:
        """Make one study, the same for the same plan."""
