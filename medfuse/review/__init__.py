"""From predictions to a clinician and back: the worklist, what a study shows, and the decisions that are kept.

No Streamlit here: `apps/viewer` draws what this package gives.
"""

from medfuse.review.store import ReviewStore

__all__ = ["ReviewStore"]
