"""A checkpoint and a study -> a prediction on the study's own grid."""

from medfuse.inference.batch import score_studies
from medfuse.inference.predictor import Predictor, Prepared

__all__ = ["Predictor", "Prepared", "score_studies"]
