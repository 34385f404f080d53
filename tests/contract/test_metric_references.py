"""Every figure equals its reference implementation to 1e-6, on random and on edge cases.

The judges: scikit-learn, scipy, statsmodels, torchmetrics, MONAI. Where none has a figure, it is held to its definition
(looked up pair by pair) or to a published example.
"""

import warnings
from collections.abc import Callable

import monai.metrics
import numpy as np
import pytest
import statsmodels.api as sm
import torch
import torchmetrics.functional as tm
from monai.metrics.froc import compute_froc_curve_data, compute_froc_score
from scipy import stats
from sklearn import metrics as skm
from sklearn.calibration import calibration_curve

from medfuse.domain import Affine, VolumeGeometry
from medfuse.metrics import (
    auroc,
    average_precision,
    brier_score,
    calibration_intercept,
    calibration_slope,
    delong_test,
    dice,
    expected_calibration_error,
    fit_platt,
    hd95_mm,
    net_benefit,
    reliability,
    surface_dice,
)
from medfuse.metrics.agreement import (
    balanced_accuracy,
    class_matthews,
    concordance,
    determination,
    limits_of_agreement,
    macro_f1,
    quadratic_kappa,
)
from medfuse.metrics.bootstrap import resamples
from medfuse.metrics.delong import auroc_covariance
from medfuse.metrics.detection import Candidate, Detections, froc, froc_score
from medfuse.metrics.weighted import (
    Weights,
    weighted_area_under_risk,
    weighted_auroc,
    weighted_average_precision,
    weighted_calibration_error,
    weighted_calibration_line,
    weighted_calls,
    weighted_mean,
    weighted_net_benefit,
    weighted_root_mean_square,
)

TOLERANCE = 1e-6
Labelled = tuple[np.ndarray, np.ndarray]


def labelled(seed: int, n: int = 60, *, digits: int = 8, prevalence: float = 0.4) -> Labelled:
    """Labels and probabilities that tell something of them; few digits make ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < prevalence
    truth[:2] = True, False
    odds = rng.normal(size=n) + 1.2 * truth
    return truth, np.round(1 / (1 + np.exp(-odds)), digits)


CASES: dict[str, Labelled] = {
    **{f"random {seed}": labelled(seed) for seed in range(4)},
    **{f"ties {seed}": labelled(seed, digits=1) for seed in range(4)},
    "two cases": (np.array([True, False]), np.array([0.3, 0.7])),
    "all unsure": (np.array([True, False, False, True]), np.full(4, 0.5)),
    "one positive": (np.array([True] + [False] * 9), np.linspace(0.1, 0.9, 10)),
    "certain": (np.array([True, False, True, False]), np.array([1.0, 0.0, 0.0, 1.0])),
}
ONE_CLASS: dict[str, Labelled] = {
    "no positives": (np.zeros(5, bool), np.linspace(0.1, 0.9, 5)),
    "positives alone": (np.ones(5, bool), np.linspace(0.1, 0.9, 5)),
    "one case": (np.array([True]), np.array([0.4])),
    "no case": (np.zeros(0, bool), np.zeros(0)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
each_of_one_class = pytest.mark.parametrize("case", ONE_CLASS.values(), ids=ONE_CLASS.keys())


def drawn(n: int, rows: int = 8) -> Weights:
    """Weights as a bootstrap draws them."""
    rng = np.random.default_rng(n)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(rows)]).astype(float)


def holds(statistic: Callable[[Weights], np.ndarray], judge: Callable[[np.ndarray], float], n: int) -> None:
    """A figure of resamples equals the judge's of the repeated cases, and is NaN where the judge has none."""
    weights = np.concatenate([np.ones((1, n)), drawn(n)])
    found = statistic(weights)
    for row, value in zip(weights, found, strict=True):
        expected = judge(np.repeat(np.arange(n), row.astype(int)))
        assert value == pytest.approx(expected, abs=TOLERANCE, nan_ok=True)


def both(truth: np.ndarray) -> bool:
    return bool(truth.any() and not truth.all())


@each_case
def test_discrimination_is_scikit_learns_and_torchmetrics(case: Labelled) -> None:
    truth, said = case
    scores, labels = torch.tensor(said), torch.tensor(truth).long()
    assert auroc(truth, said) == pytest.approx(skm.roc_auc_score(truth, said), abs=TOLERANCE)
    assert auroc(truth, said) == pytest.approx(tm.classification.binary_auroc(scores, labels).item(), abs=TOLERANCE)
    assert average_precision(truth, said) == pytest.approx(
        tm.classification.binary_average_precision(scores, labels).item(), abs=TOLERANCE
    )
    holds(
        weighted_auroc(truth, said),
        lambda i: skm.roc_auc_score(truth[i], said[i]) if both(truth[i]) else np.nan,
        truth.size,
    )
    holds(
        weighted_average_precision(truth, said),
        lambda i: skm.average_precision_score(truth[i], said[i]) if both(truth[i]) else np.nan,
        truth.size,
    )


@each_of_one_class
def test_one_class_has_no_discrimination_and_no_slope(case: Labelled) -> None:
    truth, said = case
    for value in (
        auroc(truth, said),
        average_precision(truth, said),
        calibration_slope(truth, said),
        calibration_intercept(truth, said),
    ):
        assert np.isnan(value)
    if truth.size:
        for statistic in (weighted_auroc(truth, said), weighted_average_precision(truth, said)):
            assert np.isnan(statistic(np.ones((3, truth.size)))).all()
    assert delong_test(truth, said, said) is None


JUDGES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "sensitivity": lambda t, c: skm.recall_score(t, c) if t.any() else np.nan,
    "specificity": lambda t, c: skm.recall_score(t, c, pos_label=0) if not t.all() else np.nan,
    "ppv": lambda t, c: skm.precision_score(t, c) if c.any() else np.nan,
    "npv": lambda t, c: skm.precision_score(t, c, pos_label=0) if not c.all() else np.nan,
    "f1": lambda t, c: skm.f1_score(t, c) if t.any() or c.any() else np.nan,
    "mcc": lambda t, c: skm.matthews_corrcoef(t, c) if both(t) and both(c) else np.nan,
    "accuracy": lambda t, c: skm.accuracy_score(t, c) if t.size else np.nan,
}


@pytest.mark.parametrize("measure", JUDGES)
@pytest.mark.parametrize("case", [*CASES.values(), *list(ONE_CLASS.values())[:3]])
def test_calls_are_scikit_learns(measure: str, case: Labelled) -> None:
    truth, said = case
    called = said >= 0.5
    holds(weighted_calls(measure, truth, called), lambda i: JUDGES[measure](truth[i], called[i]), truth.size)


@each_case
def test_calibration_is_that_of_torchmetrics_and_scikit_learn(case: Labelled) -> None:
    truth, said = case

    def of_torchmetrics(i: np.ndarray) -> float:
        found = tm.classification.binary_calibration_error(
            torch.tensor(said[i]), torch.tensor(truth[i]).long(), n_bins=10, norm="l1"
        )
        return float(found)

    # torchmetrics takes bins that hold their upper end, for which probabilities on an edge are kept off it here
    off_edge = np.isclose(said * 10, np.round(said * 10))
    if not off_edge.any():
        holds(weighted_calibration_error(truth, said), of_torchmetrics, truth.size)
    assert brier_score(truth, said) == pytest.approx(skm.brier_score_loss(truth, said), abs=TOLERANCE)
    observed, predicted = calibration_curve(truth, said, n_bins=10)
    filled = [each for each in reliability(truth, said) if each.n]
    if not off_edge.any():
        assert [each.observed for each in filled] == pytest.approx(observed)
        assert [each.predicted for each in filled] == pytest.approx(predicted)
    gap = sum(each.n * abs(each.observed - each.predicted) for each in filled) / truth.size
    assert expected_calibration_error(truth, said) == pytest.approx(gap, abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_slope_and_intercept_are_statsmodels(seed: int) -> None:
    truth, said = labelled(seed, 80)
    odds = np.log(said / (1 - said))

    def slope(i: np.ndarray) -> float:
        return float(sm.Logit(truth[i].astype(float), sm.add_constant(odds[i])).fit(disp=0, tol=1e-12).params[1])

    def intercept(i: np.ndarray) -> float:
        model = sm.GLM(truth[i].astype(float), np.ones(i.size), family=sm.families.Binomial(), offset=odds[i])
        return float(model.fit(tol=1e-12).params[0])

    assert calibration_slope(truth, said) == pytest.approx(slope(np.arange(80)), abs=TOLERANCE)
    holds(weighted_calibration_line(truth, said, what="slope"), slope, 80)
    holds(weighted_calibration_line(truth, said, what="intercept"), intercept, 80)


def test_a_slope_of_parted_classes_is_undefined() -> None:
    truth, said = np.array([False] * 5 + [True] * 5), np.linspace(0.1, 0.9, 10)
    assert np.isnan(calibration_slope(truth, said))
    assert np.isfinite(calibration_intercept(truth, said))


@pytest.mark.parametrize("seed", range(4))
def test_platts_line_is_statsmodels(seed: int) -> None:
    truth, said = labelled(seed, 80)
    logits = 2 * np.log(said / (1 - said)) - 1
    positives, negatives = truth.sum(), (~truth).sum()
    targets = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of targets that are no whole numbers
        expected = sm.GLM(targets, sm.add_constant(logits), family=sm.families.Binomial()).fit(tol=1e-12).params
    slope, intercept = fit_platt(logits, truth)
    assert (intercept, slope) == pytest.approx(tuple(expected), abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 8])
def test_delong_by_its_definition(seed: int, digits: int) -> None:
    """Structural components by looking at every pair, as in DeLong et al. (1988)."""
    truth, first = labelled(seed, 40, digits=digits)
    second = labelled(seed + 100, 40, digits=digits)[1]

    def components(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        present, absent = scores[truth], scores[~truth]
        wins = (present[:, None] > absent) + 0.5 * (present[:, None] == absent)
        return wins.mean(axis=1), wins.mean(axis=0)

    of_present, of_absent = (np.stack(each) for each in zip(*map(components, (first, second)), strict=True))
    expected = np.cov(of_present) / truth.sum() + np.cov(of_absent) / (~truth).sum()
    areas, covariance = auroc_covariance(truth, [first, second])
    assert covariance == pytest.approx(expected, abs=1e-12)
    assert areas == pytest.approx([skm.roc_auc_score(truth, each) for each in (first, second)])
    contrast = np.array([1, -1])
    z = (areas[0] - areas[1]) / np.sqrt(contrast @ expected @ contrast)
    found = delong_test(truth, first, second)
    assert (found.z, found.p) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))


def test_delong_of_a_model_and_itself_and_of_one_that_is_always_right() -> None:
    truth, said = labelled(0)
    same = delong_test(truth, said, said)
    assert (same.z, same.p, same.low, same.high) == (0, 1, 0, 0)
    right = delong_test(truth, truth.astype(float), np.where(truth, 0.9, 0.1))
    assert (right.first, right.second, right.p) == (1, 1, 1)


def test_delong_of_patients_is_obuchowskis() -> None:
    """Copies of a study add nothing: the variance is nearly that of the patients alone, not half of it."""
    truth, first = labelled(3, 60)
    second = labelled(103, 60)[1]
    once = delong_test(truth, first, second)
    keys = [str(n) for n in range(60)] * 2
    twice = delong_test(np.tile(truth, 2), np.tile(first, 2), np.tile(second, 2), keys)
    apart = delong_test(np.tile(truth, 2), np.tile(first, 2), np.tile(second, 2))
    assert twice.standard_error == pytest.approx(once.standard_error, abs=1e-9)
    assert apart.standard_error < 0.75 * once.standard_error


def test_the_variance_of_patients_is_that_of_a_bootstrap_of_patients() -> None:
    """Each patient has a PRESENT and an ABSENT study that resemble one another: what they share makes no error."""
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(0, 2, 150), 2)
    truth = np.tile([True, False], 150)
    scores = shared + 0.8 * truth + rng.normal(0, 1, 300)
    keys = [str(n // 2) for n in range(300)]
    _, of_patients = auroc_covariance(truth, [scores], keys)
    _, of_studies = auroc_covariance(truth, [scores])
    drawn = np.concatenate([weighted_auroc(truth, scores)(part) for part in resamples(keys, draws=2000)])
    assert of_patients[0, 0] == pytest.approx(drawn.var(), rel=0.15)
    assert of_studies[0, 0] > 1.5 * drawn.var()


def test_net_benefit_of_a_worked_example() -> None:
    """Vickers and Elkin (2006) in numbers: at 20 %, 80 true and 100 false positives of 1000 are worth 0.055."""
    truth = np.array([True] * 100 + [False] * 900)
    said = np.concatenate([np.full(80, 0.5), np.full(20, 0.1), np.full(100, 0.5), np.full(800, 0.1)])
    assert net_benefit(truth, said, [0.2]) == pytest.approx([80 / 1000 - 100 / 1000 * 0.25])
    weights = drawn(1000, 3)
    for row, value in zip(weights, weighted_net_benefit(truth, said, [0.2])(weights), strict=True):
        index = np.repeat(np.arange(1000), row.astype(int))
        assert value == pytest.approx(net_benefit(truth[index], said[index], [0.2]))


@each_case
def test_the_area_under_risk_by_its_definition(case: Labelled) -> None:
    truth, said = case
    wrong = (said >= 0.5) != truth
    sure = np.abs(said - 0.5)

    def area(i: np.ndarray) -> float:
        risks = [np.mean(wrong[i][sure[i] >= threshold]) for threshold in sure[i]]
        return float(np.mean(risks))

    holds(weighted_area_under_risk(wrong, sure), area, truth.size)


@pytest.mark.parametrize("seed", range(3))
def test_grades_and_classes_are_those_of_scikit_learn_and_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 40)
    said = np.clip(truth + rng.integers(-1, 2, 40), 0, 3)
    t, s = torch.tensor(truth), torch.tensor(said)
    kappa = tm.classification.multiclass_cohen_kappa(s, t, num_classes=4, weights="quadratic").item()
    assert quadratic_kappa(truth, said, 4) == pytest.approx(kappa, abs=TOLERANCE)
    assert class_matthews(truth, said) == pytest.approx(
        tm.classification.multiclass_matthews_corrcoef(s, t, num_classes=4).item(), abs=TOLERANCE
    )
    assert balanced_accuracy(truth, said) == pytest.approx(skm.balanced_accuracy_score(truth, said), abs=TOLERANCE)
    assert macro_f1(truth, said) == pytest.approx(skm.f1_score(truth, said, average="macro"), abs=TOLERANCE)
    for row in drawn(40):
        index = np.repeat(np.arange(40), row.astype(int))
        assert quadratic_kappa(truth, said, 4, row) == pytest.approx(
            skm.cohen_kappa_score(truth[index], said[index], weights="quadratic", labels=range(4)), abs=TOLERANCE
        )
        assert balanced_accuracy(truth, said, row) == pytest.approx(
            skm.balanced_accuracy_score(truth[index], said[index]), abs=TOLERANCE
        )


def test_classes_at_the_edges() -> None:
    assert np.isnan(quadratic_kappa([2, 2, 2], [2, 2, 2], 4))
    assert np.isnan(class_matthews([1, 1], [0, 1]))
    assert np.isnan(balanced_accuracy([], []))
    assert np.isnan(macro_f1([], []))
    assert balanced_accuracy([3], [3]) == 1
    assert quadratic_kappa([0, 3], [3, 0], 4) == pytest.approx(-1)


@pytest.mark.parametrize("seed", range(6))
def test_numbers_are_those_of_scikit_learn_torchmetrics_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(50, 10, 30)
    said = truth + rng.normal(2, 5, 30)
    whole = np.ones((1, 30))
    assert weighted_mean(np.abs(said - truth))(whole)[0] == pytest.approx(skm.mean_absolute_error(truth, said))
    assert weighted_root_mean_square(said - truth)(whole)[0] == pytest.approx(skm.root_mean_squared_error(truth, said))
    assert determination(truth, said) == pytest.approx(tm.r2_score(torch.tensor(said), torch.tensor(truth)).item())
    # torchmetrics divides the variances by n - 1 and the covariance too, but not the squared bias
    moved = 2 * np.cov(truth, said)[0, 1] / (truth.var(ddof=1) + said.var(ddof=1) + (truth.mean() - said.mean()) ** 2)
    assert tm.concordance_corrcoef(torch.tensor(said), torch.tensor(truth)).item() == pytest.approx(moved, abs=1e-4)
    biased = 2 * np.cov(truth, said, ddof=0)[0, 1] / (truth.var() + said.var() + (truth.mean() - said.mean()) ** 2)
    assert concordance(truth, said) == pytest.approx(biased, abs=TOLERANCE)


def test_limits_of_agreement_of_bland_and_altman() -> None:
    """Bland and Altman (1986), table 1, peak flow by the Wright and the mini meter: bias -2.1, s 38.8 l/min."""
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = limits_of_agreement(mini, wright)  # they take the large meter less the mini meter
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert (found.high - found.bias) / 1.96 == pytest.approx(38.8, abs=0.05)
    assert limits_of_agreement([], []) is None
    assert limits_of_agreement([1.0], [3.0]).low is None


def boxes(seed: int, shape: tuple[int, int, int] = (14, 12, 10)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for _ in range(2):
        low = [int(rng.integers(1, n // 2)) for n in shape]
        mask[tuple(slice(a, a + int(rng.integers(2, 5))) for a in low)] = True
    return mask & (rng.random(shape) < 0.95)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5)])
def test_surfaces_are_monais(seed: int, spacing: tuple[float, float, float]) -> None:
    one, other = boxes(seed), boxes(seed + 50)
    grid = VolumeGeometry(shape=one.shape, affine=Affine(np.diag([*spacing, 1.0])))
    pair = [torch.tensor(mask)[None, None].float() for mask in (one, other)]
    expected = monai.metrics.compute_dice(*pair).item()
    assert dice(one, other) == pytest.approx(expected, abs=TOLERANCE)
    for tolerance in (0.0, 1.0, 2.0):
        score = monai.metrics.compute_surface_dice(
            *pair, class_thresholds=[tolerance], include_background=True, spacing=spacing
        ).item()
        assert surface_dice(one, other, grid, tolerance) == pytest.approx(score, abs=TOLERANCE)
    far = monai.metrics.compute_hausdorff_distance(*pair, percentile=95, include_background=True, spacing=spacing)
    assert hd95_mm(one, other, grid) == pytest.approx(far.item(), abs=1e-5)  # MONAI's distances are in single precision


def test_surface_dice_of_empty_masks_as_metrics_reloaded() -> None:
    nothing, something = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    something[1:3, 1:3, 1:3] = True
    grid = VolumeGeometry(shape=(4, 4, 4), affine=Affine(np.eye(4)))
    assert surface_dice(nothing, nothing, grid, 2.0) == 1
    assert surface_dice(nothing, something, grid, 2.0) == 0
    assert surface_dice(something, nothing, grid, 100.0) == 0
    assert surface_dice(something, something, grid, 0.0) == 1
    with pytest.raises(ValueError, match="0 mm or more"):
        surface_dice(something, something, grid, -1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 6])
def test_froc_is_monais(seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    studies = [
        Detections(
            lesions=4,
            candidates=tuple(
                Candidate(confidence=round(float(rng.random()), digits), is_lesion=n < 3)
                for n in range(int(rng.integers(3, 9)))
            ),
        )
        for _ in range(12)
    ]
    every = [c for one in studies for c in one.candidates]
    false_positives, sensitivity = compute_froc_curve_data(
        fp_probs=np.array([c.confidence for c in every if not c.is_lesion] + [-1.0]),
        tp_probs=np.array([c.confidence for c in every if c.is_lesion] + [-1.0]),
        num_targets=48,
        num_images=12,
    )
    at = (0.25, 0.5, 1, 2, 4, 8)
    assert froc_score(studies, at) == pytest.approx(compute_froc_score(false_positives, sensitivity, at), abs=TOLERANCE)
    curve = froc(studies)
    assert (curve.false_positives[-1], curve.sensitivity[-1]) == (false_positives.max(), sensitivity.max())


def test_froc_at_the_edges() -> None:
    nothing = Detections(lesions=0)
    assert np.isnan(froc_score([nothing]))
    assert froc([nothing]) is None
    missed = Detections(lesions=2)
    assert froc_score([missed]) == 0
    assert froc([missed]) is None
    found = Detections(lesions=1, candidates=(Candidate(confidence=5.0, is_lesion=True),))
    assert froc_score([found]) == 1
