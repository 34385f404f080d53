"""Numbers from arrays: numpy in, numbers out. scikit-learn, scipy and MONAI do the sums and load when a function runs.

An undefined value is NaN here and null with a reason in a report, never 0. `weighted` makes a figure of thousands of
resamples at once; what none of the libraries has stands in `delong`, `decision` and `selective`, with its source.
torchmetrics and MONAI's surface metrics were looked at: they want tensors and know no sheared grid, and take seconds to
import. The tests hold these functions to them.
"""

from medfuse.metrics.bootstrap import Estimate, estimate_by_patient, estimate_by_weights
from medfuse.metrics.calibration import (
    ReliabilityBin,
    apply_platt,
    apply_temperature,
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    reliability,
)
from medfuse.metrics.classification import auroc, average_precision, sensitivity, specificity
from medfuse.metrics.decision import net_benefit
from medfuse.metrics.delong import DeLong, delong_test
from medfuse.metrics.operating_point import PointRule, choose_operating_point
from medfuse.metrics.segmentation import EmptyMask, dice, empty_mask, hd95_mm, surface_dice
from medfuse.metrics.selective import RiskCoverage, risk_coverage

__all__ = [
    "DeLong",
    "EmptyMask",
    "Estimate",
    "PointRule",
    "ReliabilityBin",
    "RiskCoverage",
    "apply_platt",
    "apply_temperature",
    "auroc",
    "average_precision",
    "brier_score",
    "calibration_intercept",
    "calibration_slope",
    "choose_operating_point",
    "delong_test",
    "dice",
    "empty_mask",
    "estimate_by_patient",
    "estimate_by_weights",
    "expected_calibration_error",
    "fit_platt",
    "fit_temperature",
    "hd95_mm",
    "net_benefit",
    "reliability",
    "risk_coverage",
    "sensitivity",
    "specificity",
    "surface_dice",
]
