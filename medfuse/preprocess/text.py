"""The text that a model reads of a study."""

from medfuse.domain.study import Study
from medfuse.preprocess.recipe import Recipe


def text_input(study: Study, recipe: Recipe) -> str:
    """The recipe's sections of all the study's reports, one a line; empty when there is none."""
    texts = (report.select(recipe.text_sections) for report in study.reports)
    return "\n".join(text for text in texts if text)
