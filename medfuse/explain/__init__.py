"""Why a model said what it said of a study: inputs, words and voxels, and whether that means anything."""

from medfuse.explain.explanation import Explanation, FindingExplanation, WordWeight, explain, explain_prepared
from medfuse.explain.write import write_explanation

__all__ = ["Explanation", "FindingExplanation", "WordWeight", "explain", "explain_prepared", "write_explanation"]
