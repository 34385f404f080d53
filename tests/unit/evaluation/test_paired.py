from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from medfuse.domain import LabelSet, LabelValue, Target, TargetKind, TargetPrediction
from medfuse.errors import UsageError
from medfuse.evaluation import Case
from medfuse.evaluation.paired import RunCases, bootstrap_p, claim, compare_runs, holm, wilcoxon_by_patient
from medfuse.evaluation.resampling import Resampling
from medfuse.metrics import delong_test
from medfuse.metrics.weighted import weighted_mean

AGE = Target(name="age", kind=TargetKind.NUMBER)
LABELS = LabelSet(findings=("nodule",), segments=("lung",), targets=(AGE,))
FEW = Resampling(draws=200)


def run(name: str, noise: float, *, seed: int = 0, dice: float = 0.8, count: int = 60, **fields: object) -> RunCases:
    rng = np.random.default_rng(seed)
    cases = []
    for n in range(count):
        present = n % 3 == 0
        odds = 2 * present - 1 + rng.normal(0, noise)
        cases.append(
            Case(
                study_instance_uid=f"s{n}",
                patient_key=f"p{n // 2}",
                labels={"nodule": LabelValue.PRESENT if present else LabelValue.ABSENT},
                probabilities={"nodule": float(1 / (1 + np.exp(-odds)))},
                dice={"lung": dice + rng.normal(0, 0.01)},
                targets={"age": TargetPrediction(name="age", kind=TargetKind.NUMBER, value=60 + rng.normal(0, noise))},
                target_values={"age": 60.0},
            )
        )
    given: dict[str, object] = {"label_set": LABELS, "operating_points": {"nodule": 0.5}}
    return RunCases(name=name, cases=tuple(cases), **{**given, **fields})  # type: ignore[arg-type]


def test_the_better_run_is_better_in_every_measure_and_worse_the_other_way() -> None:
    poor, good = run("poor", 4.0, dice=0.7), run("good", 0.3, seed=1)
    there = {one.measure: one for one in compare_runs([poor, good], FEW)}
    back = {one.measure: one for one in compare_runs([good, poor], FEW)}
    assert list(there) == [
        "nodule, AUROC",
        "nodule, average precision",
        "nodule, Brier",
        "nodule, sensitivity",
        "nodule, specificity",
        "lung, Dice",
        "age, MAE",
    ]
    for measure in ("nodule, AUROC", "nodule, Brier", "lung, Dice", "age, MAE"):
        assert (there[measure].verdict, back[measure].verdict) == ("better", "worse")
        assert there[measure].difference.value == pytest.approx(-back[measure].difference.value)
    assert there["age, MAE"].difference.value < 0
    auroc = there["nodule, AUROC"]
    truth = [case.labels["nodule"] is LabelValue.PRESENT for case in good.cases]
    said = [[case.probabilities["nodule"] for case in each.cases] for each in (good, poor)]
    expected = delong_test(truth, said[0], said[1], [case.patient_key for case in good.cases])
    assert (auroc.p, auroc.test) == (expected.p, "DeLong")
    assert (auroc.value, auroc.reference) == pytest.approx((expected.first, expected.second))
    assert there["lung, Dice"].test == "Wilcoxon"


def test_p_values_are_corrected_together_over_all_runs() -> None:
    runs = [run("a", 1.0), run("b", 1.2, seed=1), run("c", 0.8, seed=2)]
    made = compare_runs(runs, FEW)
    assert {one.run for one in made} == {"b", "c"}
    assert {one.against for one in made} == {"a"}
    assert len(made) == 14
    expected = multipletests([one.p for one in made], method="holm")[1]
    assert [one.p_corrected for one in made] == pytest.approx(list(expected))
    alone = compare_runs(runs, FEW, only=["AUROC"])
    assert [one.measure for one in alone] == ["nodule, AUROC"] * 2
    assert all(one.p_corrected <= other.p_corrected for one, other in zip(alone, [made[0], made[7]], strict=True))
    assert len(compare_runs(runs, FEW, only=["nodule, AUROC", "lung, Dice"])) == 4
    with pytest.raises(UsageError, match="--measure kappa: there is no such measure; there are AUROC,"):
        compare_runs(runs, FEW, only=["kappa"])


def test_a_run_does_not_differ_from_its_copy_and_nothing_may_be_claimed() -> None:
    one = run("a", 1.0)
    for each in compare_runs([one, replace(one, name="b")], FEW):
        assert (each.difference.value, each.p, each.verdict) == (0, 1, "undecided")
        said = claim(each, 7)
        assert "no difference between b and a may be claimed" in said
        assert "does not show that they are equal" in said


def test_claims_name_the_test_and_the_correction() -> None:
    better = compare_runs([run("poor", 4.0), run("good", 0.3, seed=1)], FEW)[0]
    said = claim(better, 7)
    assert said.startswith("nodule, AUROC: good is better than poor on these 60 studies of 30 patients (+")
    assert "DeLong, p < 0.001" in said
    assert "Holm's correction for 7 comparisons" in said


def test_the_order_of_the_cases_does_not_matter() -> None:
    one, other = run("a", 1.0), run("b", 2.0, seed=1)
    turned = replace(other, cases=other.cases[::-1])
    assert compare_runs([one, other], FEW) == compare_runs([one, turned], FEW)


def test_other_cases_other_labels_and_other_patients_are_refused() -> None:
    one, other = run("a", 1.0), run("b", 1.0, seed=1)
    with pytest.raises(UsageError, match=r"b lacks 2 of the 60 studies, which a has: s58, s59; paired tests need the"):
        compare_runs([one, replace(other, cases=other.cases[:58])], FEW)
    with pytest.raises(UsageError, match="a lacks 57 of the 60 studies, which b has: s10, s11, s12"):
        compare_runs([replace(one, cases=one.cases[:3]), other], FEW)
    relabelled = replace(other.cases[4], labels={"nodule": LabelValue.UNCERTAIN})
    with pytest.raises(UsageError, match="study s4 has another label of nodule in b than in a"):
        compare_runs([one, replace(other, cases=(*other.cases[:4], relabelled, *other.cases[5:]))], FEW)
    moved = replace(other.cases[4], patient_key="q")
    with pytest.raises(UsageError, match="study s4 has another patient in b than in a"):
        compare_runs([one, replace(other, cases=(*other.cases[:4], moved, *other.cases[5:]))], FEW)
    with pytest.raises(UsageError, match="at least two runs"):
        compare_runs([one], FEW)


def test_runs_with_nothing_in_common_are_refused_and_common_parts_are_compared() -> None:
    one = run("a", 1.0)
    with pytest.raises(UsageError, match="no finding, segment or target in common"):
        compare_runs([one, run("b", 1.0, label_set=LabelSet(findings=("mass",)))], FEW)
    segments_alone = run("b", 1.0, label_set=LabelSet(segments=("lung",)))
    assert [each.measure for each in compare_runs([one, segments_alone], FEW)] == ["lung, Dice"]
    without_points = run("b", 1.0, operating_points={})
    assert "nodule, sensitivity" not in [each.measure for each in compare_runs([one, without_points], FEW)]


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).size == 0


def test_wilcoxon_is_scipys_over_patients() -> None:
    differences = [0.1, 0.3, -0.2, 0.4, 0.5, 0.05]
    keys = ["a", "a", "b", "c", "d", "e"]
    assert wilcoxon_by_patient(differences, keys) == pytest.approx(wilcoxon([0.2, -0.2, 0.4, 0.5, 0.05]).pvalue)
    assert wilcoxon_by_patient([0.0, 0.0], ["a", "b"]) == 1
    assert wilcoxon_by_patient([], []) is None


def test_the_bootstrap_p_is_near_that_of_a_t_test() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0.35, 1, 60)
    keys = [str(n) for n in range(60)]
    from scipy.stats import ttest_1samp

    assert bootstrap_p(weighted_mean(values), keys, draws=4000) == pytest.approx(
        ttest_1samp(values, 0).pvalue, abs=0.02
    )
    assert bootstrap_p(weighted_mean(values + 5), keys, draws=999) == pytest.approx(2 / 1000)
    assert bootstrap_p(weighted_mean(values), ["a"] * 60) is None
    assert bootstrap_p(lambda w: np.full(len(w), np.nan), keys, draws=20) is None
