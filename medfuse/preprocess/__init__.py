"""From a study to arrays on one grid: one path for training and scoring, whose `Recipe` travels in the checkpoint."""

from medfuse.preprocess.prepare import PreparedStudy, prepare_study, prepare_truth
from medfuse.preprocess.recipe import ChannelRule, Recipe, Window

__all__ = ["ChannelRule", "PreparedStudy", "Recipe", "Window", "prepare_study", "prepare_truth"]
