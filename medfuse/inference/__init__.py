"""A checkpoint and a study -> a prediction on the study's own grid."""

from medfuse.inference.predictor import Predictor

__all__ = ["Predictor"]
