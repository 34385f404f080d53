import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from medfuse.domain import LabelSet, LabelValue, ModelIdentity, Rejected
from medfuse.errors import StorageError, UsageError
from medfuse.evaluation import Case, EvaluationReport, Subject, evaluate, read_evaluation, render, write_evaluation

PRESENT, ABSENT = LabelValue.PRESENT, LabelValue.ABSENT
UNCERTAIN, NOT_ASSESSED = LabelValue.UNCERTAIN, LabelValue.NOT_ASSESSED
LABELS = LabelSet(findings=("nodule", "oedema"), segments=("left", "right"))
MODEL = ModelIdentity(name="small", version="0", weights_sha256="ab", config_sha256="cd")


def case(number: int, **fields: object) -> Case:
    return Case(study_instance_uid=f"1.2.{number}", patient_key=f"p{number:03d}", **fields)  # type: ignore[arg-type]


def made_cases(n: int = 30) -> list[Case]:
    rng = np.random.default_rng(5)
    cases = []
    for i in range(n):
        nodule = PRESENT if i % 3 == 0 else ABSENT
        cases.append(
            case(
                i,
                probabilities={"nodule": float(rng.random() * 0.6 + (nodule is PRESENT) * 0.4), "oedema": 0.5},
                labels={"nodule": nodule, "oedema": UNCERTAIN if i % 2 else NOT_ASSESSED},
                dice={"left": float(rng.random()), "right": float(rng.random()) if i else None},
                hd95_mm={"left": float(rng.random() * 9), "right": 1.0 if i else None},
            )
        )
    return cases


def subject(**fields: object) -> Subject:
    given: dict[str, object] = {
        "label_set": LABELS,
        "split": "test",
        "operating_points": {"nodule": 0.55},
        "model": MODEL,
        "manifest_sha256": "ef",
    }
    return Subject(**{**given, **fields})  # type: ignore[arg-type]


def shown(report: EvaluationReport, width: int = 200) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render(report))
    console.file.close()
    return console.export_text()


def test_figures_equal_scikit_learns() -> None:
    cases = made_cases()
    nodule = evaluate(cases, subject(), draws=50).findings[0]
    truth = np.array([c.labels["nodule"] is PRESENT for c in cases])
    scores = np.array([c.probabilities["nodule"] for c in cases])
    assert nodule.auroc.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert nodule.average_precision.value == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    assert nodule.sensitivity.value == pytest.approx(recall_score(truth, scores >= 0.55))
    assert nodule.specificity.value == pytest.approx(recall_score(truth, scores >= 0.55, pos_label=0))
    assert (nodule.present, nodule.absent, nodule.auroc.n) == (10, 20, 30)
    assert (nodule.sensitivity.n, nodule.specificity.n) == (10, 20)
    for estimate in (nodule.auroc, nodule.average_precision, nodule.sensitivity, nodule.specificity):
        assert estimate.low is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_uncertain_and_unassessed_labels_take_no_part_and_are_counted() -> None:
    cases = made_cases(12)
    more = [
        case(100, probabilities={"nodule": 0.0, "oedema": 0.5}, labels={"nodule": UNCERTAIN}),
        case(101, probabilities={"nodule": 0.0, "oedema": 0.5}, labels={"nodule": NOT_ASSESSED}),
        case(102, probabilities={"nodule": 0.0, "oedema": 0.5}),
    ]
    without, with_them = (evaluate(c, subject(), draws=20).findings[0] for c in (cases, cases + more))
    assert with_them.auroc == without.auroc
    assert (with_them.uncertain, with_them.not_assessed) == (1, 2)


def test_one_class_is_null_with_a_reason() -> None:
    oedema = evaluate(made_cases(), subject(operating_points={"oedema": 0.5}), draws=20).findings[1]
    for estimate in (oedema.auroc, oedema.average_precision, oedema.sensitivity, oedema.specificity):
        assert estimate.value is None
        assert estimate.n == 0
        assert "no study is labelled" in estimate.reason
    only_present = [case(i, probabilities={"nodule": 0.6}, labels={"nodule": PRESENT}) for i in range(4)]
    nodule = evaluate(only_present, subject(), draws=20).findings[0]
    assert nodule.auroc.value is None
    assert nodule.auroc.n == 4
    assert "ABSENT" in nodule.auroc.reason
    assert "PRESENT" not in nodule.auroc.reason
    assert nodule.sensitivity.value == 1.0
    assert nodule.specificity.value is None


def test_without_an_operating_point_nothing_is_called() -> None:
    nodule = evaluate(made_cases(), subject(operating_points={}), draws=20).findings[0]
    assert nodule.auroc.value is not None
    assert (nodule.sensitivity.value, nodule.specificity.value) == (None, None)
    assert (nodule.sensitivity.n, nodule.specificity.n) == (10, 20)
    assert "operating point" in nodule.sensitivity.reason


def test_segments_are_means_over_delineated_studies() -> None:
    cases = made_cases()
    report = evaluate(cases, subject(), draws=50)
    left, right = report.segments
    assert left.dice.value == pytest.approx(np.mean([c.dice["left"] for c in cases]))
    assert (left.dice.n, right.dice.n, right.without_reference) == (30, 29, 1)
    assert right.hd95_mm.value == pytest.approx(1.0)
    both = [np.mean([c.dice["left"], c.dice["right"]]) for c in cases[1:]]
    assert report.mean_dice is not None
    assert report.mean_dice.value == pytest.approx(np.mean(both))
    assert report.mean_dice.n == 29


def test_empty_masks_are_counted_by_kind() -> None:
    cases = [
        case(0, dice={"left": 1.0}, hd95_mm={"left": 0.0}, empty_masks={"left": "both"}),
        case(1, dice={"left": 0.0}, hd95_mm={"left": 60.0}, empty_masks={"left": "prediction"}),
        case(2, dice={"left": 0.0}, hd95_mm={"left": 60.0}, empty_masks={"left": "reference"}),
        case(3, dice={"left": 0.8}, hd95_mm={"left": 2.0}),
        case(4),
    ]
    left, right = evaluate(cases, subject(), draws=20).segments
    assert (left.both_empty, left.missed, left.invented, left.without_reference) == (1, 1, 1, 1)
    assert left.dice.value == pytest.approx(1.8 / 4)
    assert left.hd95_mm.value == pytest.approx(122 / 4)
    assert right.dice.value is None
    assert right.dice.reason


def test_two_studies_of_one_patient_are_one_witness() -> None:
    cases = made_cases(12)
    twins = [
        Case(
            study_instance_uid=c.study_instance_uid + ".2",
            patient_key=c.patient_key,
            probabilities=c.probabilities,
            labels=c.labels,
            dice=c.dice,
            hd95_mm=c.hd95_mm,
        )
        for c in cases
    ]
    once, twice = (evaluate(c, subject(), draws=60) for c in (cases, cases + twins))
    assert (twice.studies, twice.patients) == (24, 12)
    assert twice.findings[0].auroc.n == 24
    assert twice.findings[0].auroc.patients == 12
    assert (twice.segments[0].dice.low, twice.segments[0].dice.high) == pytest.approx(
        (once.segments[0].dice.low, once.segments[0].dice.high)
    )


def test_same_seed_same_report_other_seed_other_interval() -> None:
    first, second, other = (evaluate(made_cases(), subject(), draws=40, seed=s).findings for s in (0, 0, 1))
    assert first == second
    assert first[0].auroc.value == other[0].auroc.value
    assert first[0].auroc != other[0].auroc


def test_no_case_at_all_is_a_report_of_nulls() -> None:
    report = evaluate([], subject(), rejected=[Rejected(study_instance_uid="1", reason="BROKEN", detail="why")])
    assert report.studies == 0
    assert {f.auroc.value for f in report.findings} == {None}
    assert "take no part" in report.notes[0]


def test_progress_is_told_once_a_finding_and_a_segment() -> None:
    told: list[int] = []
    evaluate(made_cases(6), subject(), draws=5, on_progress=lambda: told.append(1))
    assert len(told) == 4


@pytest.mark.parametrize(("split", "word"), [("train", "TRAINING DATA"), ("validation", "VALIDATION DATA")])
def test_splits_that_the_model_saw_are_called_so(split: str, word: str) -> None:
    report = evaluate(made_cases(6), subject(split=split), draws=5)
    assert any(note.startswith(word) for note in report.notes)
    assert word in shown(report)
    assert ("TRAINING data" in shown(report).splitlines()[0]) is (split == "train")
    assert not evaluate(made_cases(6), subject(), draws=5).notes


def test_leakage_is_stamped_on_the_report_and_on_the_table() -> None:
    leaky = ModelIdentity(name="leaky", version="0", weights_sha256="", config_sha256="", leakage_allowed=True)
    report = evaluate(made_cases(6), subject(model=leaky), draws=5)
    assert report.leakage_allowed
    assert "LABEL LEAKAGE" in shown(report)
    assert not evaluate(made_cases(6), subject(), draws=5).leakage_allowed


def test_the_json_is_whole_strict_and_reads_back(tmp_path: Path) -> None:
    broken = Rejected(study_instance_uid="1.2.9", reason="TRUNCATED_FILE", detail="cut off")
    report = evaluate(made_cases(), subject(calibrated=frozenset({"nodule"})), rejected=[broken], draws=20)
    path = tmp_path / "new" / "figures.json"
    write_evaluation(report, path)
    assert [file.name for file in path.parent.iterdir()] == ["figures.json"]
    document = json.loads(path.read_text("utf-8"), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert document["model"]["name"] == "small"
    assert (document["split"], document["manifest_sha256"]) == ("test", "ef")
    assert document["rejected"] == [
        {"study_instance_uid": "1.2.9", "accession_number": "", "reason": "TRUNCATED_FILE", "detail": "cut off"}
    ]
    auroc = document["findings"][0]["auroc"]
    assert {"value", "low", "high", "n", "patients"} <= auroc.keys()
    assert document["findings"][1]["auroc"]["value"] is None
    assert [f["calibrated"] for f in document["findings"]] == [True, False]
    assert read_evaluation(path) == report


def test_the_stored_cases_give_the_same_figures_again(tmp_path: Path) -> None:
    report = evaluate(made_cases(), subject(), draws=30, seed=3)
    write_evaluation(report, tmp_path / "figures.json")
    stored = read_evaluation(tmp_path / "figures.json")
    again = evaluate(stored.cases, subject(), draws=stored.draws, seed=stored.seed)
    assert (again.findings, again.segments) == (report.findings, report.segments)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"split": "test"}', '{"schema_version": "x"}'])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"figures\.json is no evaluation"):
        read_evaluation(path)


def test_a_report_of_a_newer_schema_or_a_missing_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_evaluation(evaluate(made_cases(4), subject(), draws=5), path)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(UsageError, match="update medfuse"):
        read_evaluation(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_evaluation(tmp_path / "none.json")


def test_a_place_that_cannot_be_written_leaves_the_older_report(tmp_path: Path) -> None:
    stands = tmp_path / "file"
    stands.write_text("older")
    with pytest.raises(StorageError):
        write_evaluation(evaluate([], subject()), stands / "figures.json")
    assert stands.read_text() == "older"


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_shows_value_interval_and_n(width: int) -> None:
    report = evaluate(made_cases(), subject(), draws=50)
    text = shown(report, width)
    lines = [[part.strip() for part in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    nodule = report.findings[0]
    for row, measure, estimate in (
        (0, "AUROC", nodule.auroc),
        (1, "average precision", nodule.average_precision),
        (2, "sensitivity", nodule.sensitivity),
        (3, "specificity", nodule.specificity),
    ):
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
        assert lines[row][1:] == [measure, f"{estimate.value:.3f}", interval, str(estimate.n), str(estimate.patients)]
    assert [line[0] for line in lines[:4]] == ["nodule", "10 present", "20 absent", "from 0.550"]
    (oedema,) = (n for n, line in enumerate(lines) if line[0] == "oedema")
    assert oedema == 12  # four figures of calls and four of calibration and selection stand behind those above
    assert [line[2] for line in lines[oedema : oedema + 4]] == ["n/a"] * 4
    assert "oedema: 15 uncertain and 15 not assessed labels take no part" in text
    assert "30 studies of 30 patients" in text


def test_names_are_data_not_markup() -> None:
    odd = LabelSet(findings=("[red]nodule[/red]",))
    cases = [case(i, probabilities={"[red]nodule[/red]": 0.1 * i}, labels={}) for i in range(3)]
    broken = Rejected(study_instance_uid="[bold]1", reason="R", detail="[/nope]")
    text = shown(evaluate(cases, subject(label_set=odd), rejected=[broken], draws=5))
    assert "[red]nodule[/red]" in text
    assert "[/nope]" in text


def test_estimates_hold_no_nan() -> None:
    report = evaluate(made_cases(), subject(), draws=20)
    for figures in report.findings:
        assert figures.auroc.value is None or not math.isnan(figures.auroc.value)
