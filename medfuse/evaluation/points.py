"""Operating points chosen on validation cases by another rule than the checkpoint's."""

from dataclasses import replace

from medfuse.evaluation.evaluate import Subject
from medfuse.evaluation.findings import told
from medfuse.evaluation.run import Collected
from medfuse.metrics import PointRule, choose_operating_point


def with_points(subject: Subject, validation: Collected, rule: PointRule) -> Subject:
    """The subject with operating points that a rule chooses on the run's validation studies.

    Args:
        subject: What is measured.
        validation: The validation split of the same run, scored by the same model from the same inputs.
        rule: How to choose.

    Raises:
        ValueError: The cases are of another split.
    """
    if validation.subject.split != "validation":
        raise ValueError(f"operating points are chosen on validation, not on {validation.subject.split}")
    used = {name: told(name, validation.cases) for name in subject.label_set.findings}
    points = {name: choose_operating_point(each.truth, each.said, rule) for name, each in used.items()}
    return replace(subject, operating_points=points, point_rule=str(rule))
