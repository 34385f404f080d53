"""Encoders that have seen the data before they are taught: by masked volumes, or by images and their reports.

A pre-training run has the config of the training run that follows, so that both hold out the same patients.
"""

from medfuse.pretraining.options import PretrainingOptions, PretrainingPlan
from medfuse.pretraining.trainer import PretrainingResult, PretrainingWatcher, pretrain

__all__ = ["PretrainingOptions", "PretrainingPlan", "PretrainingResult", "PretrainingWatcher", "pretrain"]
