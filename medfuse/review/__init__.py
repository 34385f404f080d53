"""From predictions to a clinician and back: the worklist, what a study shows, and the decisions that are kept.

    room        what is reviewed and where decisions go; results of a model, or any folder of studies
    desk        the review as one reader sees and changes it: the only door for a dashboard
    access      roles, projects, and who reaches what
    pages       pages of the worklist, by query
    triage      what to read first, and why
    claims      who has taken which study
    cases       one opened study
    store       the decisions, append-only in a hash chain
    readings    what stands of what was said
    marks       evidence and mentions in the report
    views       findings, series and segments in words
    images      a volume packed for the viewer, with the window presets that readers know
    agreement   kappa of readers and model
    drift       whether inputs and outputs are still what they were
    exports     CSV, FHIR, DICOM SR, and labels to train on

No Streamlit here, and no torch: `apps/viewer` draws what this package gives.
"""

from medfuse.review.access import AccessError, AccessPolicy, Project, Reader, Role, Sight, local_reader, read_policy
from medfuse.review.agreement import Agreement, Disagreement, GroupAgreement, PairAgreement
from medfuse.review.cases import Case, Delineation
from medfuse.review.claims import CLAIM_MINUTES, Claim
from medfuse.review.desk import Desk
from medfuse.review.drift import DriftRow
from medfuse.review.images import CT_WINDOWS, DisplayImage, Window, display_image, windows_of
from medfuse.review.marks import Mark, MarkKind, SectionMarks, finding_segments, report_marks
from medfuse.review.pages import Choices, Order, Page, WorklistFilter, WorklistRow
from medfuse.review.readings import CaseStatus, Reading
from medfuse.review.results import Results
from medfuse.review.room import ReadingRoom, RoomKind, decisions_folder, open_room, room_from_environment
from medfuse.review.store import AmendmentNeedsReasonError, ReviewStore
from medfuse.review.views import (
    SegmentView,
    SeriesChoice,
    Span,
    highlighted,
    readable,
    segment_views,
    series_choices,
)

__all__ = [
    "CLAIM_MINUTES",
    "CT_WINDOWS",
    "AccessError",
    "AccessPolicy",
    "Agreement",
    "AmendmentNeedsReasonError",
    "Case",
    "CaseStatus",
    "Choices",
    "Claim",
    "Delineation",
    "Desk",
    "Disagreement",
    "DisplayImage",
    "DriftRow",
    "GroupAgreement",
    "Mark",
    "MarkKind",
    "Order",
    "Page",
    "PairAgreement",
    "Project",
    "Reader",
    "Reading",
    "ReadingRoom",
    "Results",
    "ReviewStore",
    "Role",
    "RoomKind",
    "SectionMarks",
    "SegmentView",
    "SeriesChoice",
    "Sight",
    "Span",
    "Window",
    "WorklistFilter",
    "WorklistRow",
    "decisions_folder",
    "display_image",
    "finding_segments",
    "highlighted",
    "local_reader",
    "open_room",
    "read_policy",
    "readable",
    "report_marks",
    "room_from_environment",
    "segment_views",
    "series_choices",
    "windows_of",
]
