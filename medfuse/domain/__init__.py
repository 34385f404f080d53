"""The nouns: frozen, checked when built, numpy only. World is LPS in millimetres, arrays are `(i, j, k)`."""

from medfuse.domain.geometry import Affine, VolumeGeometry
from medfuse.domain.labels import Label, LabelSet, LabelValue, Provenance, Region, Target, TargetKind
from medfuse.domain.prediction import (
    Alignment,
    ChannelPreparation,
    Evidence,
    Familiarity,
    Finding,
    ModelIdentity,
    Prediction,
    QualityFlag,
    Rejected,
    Scored,
    SegmentVolume,
    StudyOutcome,
    TargetPrediction,
)
from medfuse.domain.report import Report, ReportSection, SectionName
from medfuse.domain.review import Review, ReviewKind, Shown, Subject, SubjectKind, Verdict
from medfuse.domain.segmentation import Code, Segment, Segmentation
from medfuse.domain.study import Acquisition, HeaderCorrection, Modality, Series, Study, pseudonym
from medfuse.domain.volume import MapMeaning, Quantity, Volume, VoxelMap

__all__ = [
    "Acquisition",
    "Affine",
    "Alignment",
    "ChannelPreparation",
    "Code",
    "Evidence",
    "Familiarity",
    "Finding",
    "HeaderCorrection",
    "Label",
    "LabelSet",
    "LabelValue",
    "MapMeaning",
    "Modality",
    "ModelIdentity",
    "Prediction",
    "Provenance",
    "QualityFlag",
    "Quantity",
    "Region",
    "Rejected",
    "Report",
    "ReportSection",
    "Review",
    "ReviewKind",
    "Scored",
    "SectionName",
    "Segment",
    "SegmentVolume",
    "Segmentation",
    "Series",
    "Shown",
    "Study",
    "StudyOutcome",
    "Subject",
    "SubjectKind",
    "Target",
    "TargetKind",
    "TargetPrediction",
    "Verdict",
    "Volume",
    "VolumeGeometry",
    "VoxelMap",
    "pseudonym",
]
