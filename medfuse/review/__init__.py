"""From predictions to a clinician and back: the worklist, what a study shows, and the decisions that are kept.

    results   the folder that `medfuse score` wrote
    queue     its studies as a worklist: filter, sort, next and previous
    views     findings, report sections with evidence, series and segments, as a reader sees them
    images    a volume packed for the viewer, with the window presets that readers know
    store     the decisions, append-only

No Streamlit here: `apps/viewer` draws what this package gives.
"""

from medfuse.review.images import CT_WINDOWS, DisplayImage, Window, display_image, windows_of
from medfuse.review.queue import QueueFilter, QueueRow, ReviewStatus, SortBy, counts, neighbours, worklist
from medfuse.review.results import Results
from medfuse.review.store import ReviewStore
from medfuse.review.views import (
    SectionView,
    SegmentView,
    SeriesChoice,
    Span,
    basis_of,
    call_of,
    highlighted,
    readable,
    report_views,
    segment_views,
    series_choices,
)

__all__ = [
    "CT_WINDOWS",
    "DisplayImage",
    "QueueFilter",
    "QueueRow",
    "Results",
    "ReviewStatus",
    "ReviewStore",
    "SectionView",
    "SegmentView",
    "SeriesChoice",
    "SortBy",
    "Span",
    "Window",
    "basis_of",
    "call_of",
    "counts",
    "display_image",
    "highlighted",
    "neighbours",
    "readable",
    "report_views",
    "segment_views",
    "series_choices",
    "windows_of",
    "worklist",
]
