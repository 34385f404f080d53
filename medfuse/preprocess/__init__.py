"""From a study to arrays on one grid: one path for training and scoring, whose `Recipe` travels in the checkpoint."""

from medfuse.preprocess.intensity import Window
from medfuse.preprocess.prepare import PreparedStudy, prepare_study, prepare_truth
from medfuse.preprocess.recipe import Recipe, Registration
from medfuse.preprocess.rules import ChannelRule

__all__ = ["ChannelRule", "PreparedStudy", "Recipe", "Registration", "Window", "prepare_study", "prepare_truth"]
