"""What an evaluation measures beside AUROC, sensitivity and Dice."""

import json
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import Familiarity, LabelSet, LabelValue, Target, TargetKind, TargetPrediction
from medfuse.evaluation import (
    Asked,
    Case,
    EvaluationReport,
    Subject,
    evaluate,
    evaluation_schema,
    read_evaluation,
    render,
    write_evaluation,
)
from medfuse.evaluation.cases import Volumes
from medfuse.metrics.detection import Candidate, Detections

PRESENT, ABSENT = LabelValue.PRESENT, LabelValue.ABSENT
GRADE = Target(name="grade", kind=TargetKind.GRADES, classes=("none", "mild", "severe"))
KIND = Target(name="kind", kind=TargetKind.CLASSES, classes=("cyst", "tumour"))
AGE = Target(name="age", kind=TargetKind.NUMBER, unit="years")
LABELS = LabelSet(findings=("nodule",), segments=("lung",), targets=(GRADE, KIND, AGE))


def case(n: int, probability: float, present: bool, **fields: object) -> Case:
    return Case(
        study_instance_uid=f"1.2.{n}",
        patient_key=f"p{n:03d}",
        probabilities={"nodule": probability},
        labels={"nodule": PRESENT if present else ABSENT},
        **fields,  # type: ignore[arg-type]
    )


def cases_of(pairs: list[tuple[float, bool]]) -> list[Case]:
    return [case(n, probability, present) for n, (probability, present) in enumerate(pairs)]


def report_of(cases: list[Case], *, asked: Asked | None = None, point: float | None = 0.5) -> EvaluationReport:
    subject = Subject(label_set=LABELS, split="test", operating_points={"nodule": point})
    return evaluate(cases, subject, asked=asked or Asked(), draws=30)


FOUR = cases_of([(0.9, True), (0.6, False), (0.4, True), (0.2, False), (0.1, False)])


def test_calls_and_their_measures() -> None:
    (nodule,) = report_of(FOUR).findings
    assert (nodule.calls.true_positives, nodule.calls.false_positives) == (1, 1)
    assert (nodule.calls.true_negatives, nodule.calls.false_negatives) == (2, 1)
    assert (nodule.ppv.value, nodule.ppv.n) == (0.5, 2)
    assert (nodule.npv.value, nodule.npv.n) == (pytest.approx(2 / 3), 3)
    assert nodule.f1.value == 0.5
    assert nodule.mcc.value == pytest.approx((1 * 2 - 1 * 1) / np.sqrt(2 * 2 * 3 * 3))


def test_without_an_operating_point_there_are_no_calls_and_the_rest_is_there() -> None:
    (nodule,) = report_of(FOUR, point=None).findings
    assert nodule.calls is None
    assert nodule.selective is None
    assert {nodule.ppv.value, nodule.npv.value, nodule.f1.value, nodule.mcc.value} == {None}
    assert "operating point" in nodule.ppv.reason
    assert nodule.calibration.brier.value is not None
    assert nodule.decision is not None


def test_nobody_called_has_no_predictive_value() -> None:
    (nodule,) = report_of(FOUR, point=0.99).findings
    assert (nodule.ppv.value, nodule.ppv.reason) == (None, "no study is called present")
    assert nodule.npv.value == pytest.approx(3 / 5)
    assert (nodule.mcc.value, nodule.mcc.reason) == (None, "every study is called alike")


def test_curves_hold_what_a_plot_needs() -> None:
    (nodule,) = report_of(FOUR).findings
    assert (nodule.roc.x[0], nodule.roc.y[0], nodule.roc.thresholds[0]) == (0, 0, None)
    assert (nodule.roc.x[-1], nodule.roc.y[-1]) == (1, 1)
    assert np.trapezoid(nodule.roc.y, nodule.roc.x) == pytest.approx(nodule.auroc.value)
    assert (nodule.precision_recall.x[-1], nodule.precision_recall.y[-1]) == (0, 1)
    assert len(nodule.decision.x) == len(nodule.decision.y_low) == len(nodule.decision_all.y) == 99
    at_half = nodule.decision.x.index(0.5)
    assert nodule.decision.y[at_half] == pytest.approx(1 / 5 - 1 / 5)
    assert nodule.decision_all.y[at_half] == pytest.approx(2 / 5 - 3 / 5)
    assert nodule.decision.y_low[at_half] <= nodule.decision.y[at_half] <= nodule.decision.y_high[at_half]
    assert sum(each.n for each in nodule.calibration.bins) == 5


def test_selective_prediction_answers_the_surest_first() -> None:
    (nodule,) = report_of(FOUR).findings
    curve = nodule.selective.curve
    # by the distance of the log-odds from those of 0.5: 0.9 and 0.1 (both right), 0.2 (right), 0.6 and 0.4 (both wrong)
    assert curve.x == pytest.approx((2 / 5, 3 / 5, 1.0))
    assert curve.y == pytest.approx((0.0, 0.0, 2 / 5))
    assert nodule.selective.risk.value == pytest.approx(2 / 5)
    assert nodule.selective.area.value == pytest.approx(2 / 5 * 2 / 5)


def test_conformal_sets_are_held_against_the_truth() -> None:
    both, none = (PRESENT, ABSENT), ()
    sets = [(PRESENT,), (PRESENT,), both, (ABSENT,), none]
    cases = [
        case(n, 0.5, present, prediction_sets={"nodule": each})
        for n, (present, each) in enumerate(zip((True, False, True, False, False), sets, strict=True))
    ]
    (nodule,) = report_of([*cases, case(9, 0.5, True)]).findings
    figures = nodule.conformal
    assert (figures.coverage.value, figures.coverage.n) == (pytest.approx(3 / 5), 5)
    assert figures.coverage_present.value == 1.0
    assert figures.coverage_absent.value == pytest.approx(1 / 3)
    assert (figures.sure.value, figures.unsure.value, figures.empty.value) == pytest.approx((3 / 5, 1 / 5, 1 / 5))
    assert (figures.sure_and_right.value, figures.sure_and_right.n) == (pytest.approx(2 / 3), 3)
    assert report_of(FOUR).findings[0].conformal is None


def test_calibration_before_scaling_is_there_where_every_case_has_it() -> None:
    cases = [case(n, p, t, uncalibrated={"nodule": p**2}) for n, (p, t) in enumerate([(0.9, True), (0.5, False)])]
    (nodule,) = report_of(cases).findings
    assert nodule.uncalibrated.brier.value == pytest.approx((0.19**2 + 0.25**2) / 2)
    assert nodule.calibration.brier.value == pytest.approx((0.1**2 + 0.5**2) / 2)
    assert report_of([*cases, case(9, 0.5, True)]).findings[0].uncalibrated is None


def test_volumes_surfaces_and_bland_altman() -> None:
    volumes = [Volumes(predicted_mm3=p, reference_mm3=r) for p, r in ((110, 100), (90, 100), (40, 0))]
    cases = [
        case(n, 0.5, True, dice={"lung": 0.9}, volumes={"lung": each}, surface_dice={"lung": {1.0: 0.5, 2.0: 0.75}})
        for n, each in enumerate(volumes)
    ]
    (lung,) = report_of([*cases, case(9, 0.5, True)]).segments
    assert (lung.surface_dice.value, lung.surface_dice.n, lung.tolerance_mm) == (0.75, 3, 2.0)
    assert report_of(cases, asked=Asked(tolerance_mm=1.0)).segments[0].surface_dice.value == 0.5
    assert report_of(cases, asked=Asked(tolerance_mm=4.0)).segments[0].surface_dice.value is None
    assert lung.volume_error_mm3.value == pytest.approx(40 / 3)
    assert lung.volume_absolute_error_mm3.value == pytest.approx(60 / 3)
    assert (lung.volume_relative_error.value, lung.volume_relative_error.n) == (pytest.approx(0.0), 2)
    plot = lung.volume_agreement
    assert plot.studies == ("1.2.0", "1.2.1", "1.2.2")
    assert plot.difference == (10, -10, 40)
    assert plot.mean == (105, 95, 20)
    assert plot.high - plot.bias == pytest.approx(1.96 * np.std([10, -10, 40], ddof=1))


def test_lesions_only_where_they_are_asked_for() -> None:
    hit, alarm = Candidate(confidence=9, is_lesion=True), Candidate(confidence=5, is_lesion=False)
    detections = [Detections(lesions=2, candidates=(hit, alarm)), Detections(lesions=0, candidates=(alarm,))]
    cases = [case(n, 0.5, True, detections={"lung": each}) for n, each in enumerate(detections)]
    assert report_of(cases).segments[0].detection is None
    found = report_of(cases, asked=Asked(lesions=("lung",))).segments[0].detection
    assert (found.lesions, found.candidates, found.studies) == (2, 3, 2)
    assert (found.sensitivity.value, found.false_positives.value) == (0.5, 1.0)
    assert found.froc_score.value == pytest.approx(0.5)
    assert (found.curve.x[-1], found.curve.y[-1]) == (1.0, 0.5)


def grade(probabilities: tuple[float, ...]) -> TargetPrediction:
    return TargetPrediction(
        name="grade", kind=TargetKind.GRADES, classes=GRADE.classes, probabilities=probabilities, value=None
    )


def test_targets_of_every_kind() -> None:
    cases = []
    for n in range(12):
        true_grade, said = n % 3, (n + (n % 4 == 0)) % 3
        one_hot = [0.1] * 3
        one_hot[said] = 0.8
        kind = (0.7, 0.3) if n % 2 else (0.2, 0.8)
        cases.append(
            case(
                n,
                0.5,
                True,
                targets={
                    "grade": grade(tuple(one_hot)),
                    "kind": TargetPrediction(
                        name="kind", kind=TargetKind.CLASSES, classes=KIND.classes, probabilities=kind
                    ),
                    "age": TargetPrediction(name="age", kind=TargetKind.NUMBER, value=60.0 + n + n % 2, unit="years"),
                },
                target_values={"grade": float(true_grade), "kind": float(n % 2 == 0), "age": 60.0 + n},
            )
        )
    report = report_of([*cases, case(99, 0.5, True)])
    of_grade, of_kind, of_age = report.targets
    assert of_grade.known == 12
    assert of_grade.measures["accuracy"].value == pytest.approx(9 / 12)
    assert {"quadratic kappa", "MAE in grades", "macro AUROC"} <= of_grade.measures.keys()
    assert sum(map(sum, of_grade.confusion)) == 12
    assert sum(of_grade.confusion[n][n] for n in range(3)) == 9
    assert "quadratic kappa" not in of_kind.measures
    assert of_kind.measures["macro AUROC"].value == 1.0
    assert of_age.measures["MAE"].value == pytest.approx(0.5)
    assert of_age.measures["RMSE"].value == pytest.approx(np.sqrt(0.5))
    assert of_age.measures["bias"].value == pytest.approx(0.5)
    assert (of_age.agreement.bias, len(of_age.agreement.mean)) == (pytest.approx(0.5), 12)
    assert of_age.confusion == ()
    for figures in report.targets:
        assert all(each.n == 12 for each in figures.measures.values())


def test_targets_without_a_case_are_nulls_with_a_reason() -> None:
    for figures in report_of(FOUR).targets:
        assert figures.known == 0
        assert all(each.value is None and each.reason for each in figures.measures.values())


def test_failures_are_the_worst_first() -> None:
    cases = cases_of([(0.4, True), (0.1, True), (0.6, False), (0.9, False), (0.2, False)])
    cases.append(case(7, 0.9, True, dice={"lung": 0.2}))
    cases.append(case(8, 0.9, True, dice={"lung": 0.0}, empty_masks={"lung": "prediction"}))
    cases.append(case(9, 0.9, True, dice={"lung": 0.95}))
    told = [(each.kind, each.study_instance_uid) for each in report_of(cases).failures]
    assert told == [
        ("missed", "1.2.1"),
        ("missed", "1.2.0"),
        ("false alarm", "1.2.3"),
        ("false alarm", "1.2.2"),
        ("low Dice", "1.2.8"),
        ("low Dice", "1.2.7"),
    ]
    assert "nothing was predicted" in report_of(cases).failures[4].told


def test_failures_of_targets() -> None:
    wrong = case(0, 0.5, True, targets={"grade": grade((0.7, 0.2, 0.1))}, target_values={"grade": 2.0})
    age = TargetPrediction(name="age", kind=TargetKind.NUMBER, value=70.0, unit="years")
    far = case(1, 0.5, True, targets={"age": age}, target_values={"age": 50.0})
    told = {each.kind: each for each in report_of([wrong, far]).failures}
    assert told["wrong class"].value == pytest.approx(0.9)
    assert told["wrong class"].told == "none, truth severe had probability 0.100"
    assert told["large error"].told == "70 years, truth 50 years"


def test_unfamiliar_studies_are_counted_and_told() -> None:
    cases = [case(n, 0.5, True, familiarity=Familiarity(distance=float(n), threshold=1.5)) for n in range(4)]
    report = report_of(cases)
    assert (report.familiar, report.unfamiliar) == (2, 2)
    assert any("unlike the training set" in note for note in report.notes)
    assert report_of(FOUR).familiar is None


def test_the_json_reads_back_and_fits_its_schema(tmp_path: Path) -> None:
    cases = [
        case(
            n,
            0.1 + 0.08 * n,
            n % 2 == 0,
            dice={"lung": 0.8},
            volumes={"lung": Volumes(predicted_mm3=10, reference_mm3=9)},
            surface_dice={"lung": {2.0: 0.9}},
            detections={"lung": Detections(lesions=1, candidates=(Candidate(confidence=3, is_lesion=True),))},
            prediction_sets={"nodule": (PRESENT,)},
            uncalibrated={"nodule": 0.5},
            targets={"grade": grade((0.7, 0.2, 0.1))},
            target_values={"grade": 1.0},
            groups={"sex": "F" if n % 3 else "M"},
        )
        for n in range(10)
    ]
    report = report_of(cases, asked=Asked(by=("sex",), lesions=("lung",)))
    write_evaluation(report, tmp_path / "figures.json")
    assert read_evaluation(tmp_path / "figures.json") == report
    text = (tmp_path / "figures.json").read_text("utf-8")
    document = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    schema = evaluation_schema()
    assert document.keys() == schema["properties"].keys()
    for name, record in (("FindingFigures", document["findings"][0]), ("SegmentFigures", document["segments"][0])):
        assert record.keys() == schema["$defs"][name]["properties"].keys()


def test_an_older_file_without_the_new_fields_still_reads(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_evaluation(report_of(FOUR), path)
    document = json.loads(path.read_text("utf-8"))
    kept = {"name", "present", "absent", "uncertain", "not_assessed", "operating_point", "calibrated"}
    kept |= {"auroc", "average_precision", "sensitivity", "specificity", "dice", "hd95_mm", "both_empty", "missed"}
    kept |= {"invented", "without_reference"}
    for part in ("findings", "segments"):
        document[part] = [{key: value for key, value in each.items() if key in kept} for each in document[part]]
    for part in ("targets", "subgroups", "sites", "failures", "point_rule", "tolerance_mm", "familiar", "unfamiliar"):
        del document[part]
    path.write_text(json.dumps(document), "utf-8")
    older = read_evaluation(path)
    assert older.findings[0].ppv is None
    render(older)
