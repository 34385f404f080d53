"""Numbers from arrays: numpy in, numbers out. scikit-learn and scipy do the sums and load when a function runs.

An undefined value is NaN here and null with a reason in a report, never 0. torchmetrics and MONAI's metrics were
looked at: they want tensors, and MONAI alone takes seconds to import.
"""

from medfuse.metrics.bootstrap import Estimate, estimate_by_patient
from medfuse.metrics.calibration import apply_temperature, fit_temperature
from medfuse.metrics.classification import auroc, average_precision, sensitivity, specificity
from medfuse.metrics.operating_point import choose_operating_point
from medfuse.metrics.segmentation import EmptyMask, dice, empty_mask, hd95_mm

__all__ = [
    "EmptyMask",
    "Estimate",
    "apply_temperature",
    "auroc",
    "average_precision",
    "choose_operating_point",
    "dice",
    "empty_mask",
    "estimate_by_patient",
    "fit_temperature",
    "hd95_mm",
    "sensitivity",
    "specificity",
]
