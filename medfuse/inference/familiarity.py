"""How far a study is from the training set, in the features of the model's own image encoder.

Each map of the encoder's pyramid is pooled over space to its mean and deviation a channel. The training studies'
features have a mean and a covariance, shrunk as far as their number asks for; a study's distance is Mahalanobis' by
these, over the root of the number of features, so that it is about 1 for a study of the same kind. Only the moments
are kept: the mean, the deviations, and the axes of the covariance; no study's own features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.data.samples import Case, sample_of
from medfuse.domain.labels import LabelSet
from medfuse.domain.prediction import Familiarity
from medfuse.inference.sliding_window import Index, window_starts
from medfuse.model import FusionNetwork
from medfuse.preprocess import Recipe

FALSE_ALARMS = 0.01
"""Share of held-out studies of the same kind that may count as unfamiliar, in the long run."""

MOST_WINDOWS = 4
"""Windows of a study that are looked at, evenly over its grid."""

LEAST_TRAINING, LEAST_HELD_OUT = 8, 3
"""With fewer studies nothing is fitted."""

_MOST_AXES = 256
_SMALLEST = 1e-6

_NOTHING = LabelSet(findings=("none",))

Features = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """Where the training studies lie: `x` is at `(x - mean) / scale`, and there the covariance has these axes.

    Args:
        mean: Of each feature, shape `(D,)`.
        scale: Deviation of each feature, shape `(D,)`.
        axes: Orthonormal rows, shape `(R, D)`.
        spread: Variance along each of them, shape `(R,)`.
        rest: Variance along everything else, shape `()`.
        count: Number of studies, shape `()`.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor
    spread: Tensor
    rest: Tensor
    count: Tensor

    @classmethod
    def fit(cls, features: Features) -> "TrainingSet":
        """The moments of training studies.

        Args:
            features: Shape `(n, D)`, two studies or more.

        Source: K. Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018, for
        the distance; O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
        J. Multivariate Analysis 88 (2004), as in scikit-learn, for the shrinkage.
        """
        from sklearn.covariance import ledoit_wolf_shrinkage

        mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), _SMALLEST)
        standard = (features - mean) / scale
        shrinkage = float(ledoit_wolf_shrinkage(standard, assume_centered=True))
        _, singular, axes = np.linalg.svd(standard, full_matrices=False)
        variance = singular**2 / len(standard)
        level = variance.sum() / standard.shape[1]
        kept = min(_MOST_AXES, int((singular > singular[0] * _SMALLEST).sum()))
        left = standard.shape[1] - kept
        beyond = variance[kept:].sum() / left if left else 0.0
        spread = (1 - shrinkage) * variance[:kept] + shrinkage * level
        rest = max((1 - shrinkage) * beyond + shrinkage * level, _SMALLEST)
        return cls(
            mean=torch.tensor(mean),
            scale=torch.tensor(scale),
            axes=torch.tensor(axes[:kept].astype(np.float32)),
            spread=torch.tensor(np.maximum(spread, _SMALLEST)),
            rest=torch.tensor(rest),
            count=torch.tensor(len(features)),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "TrainingSet":
        """The inverse of `tensors`.

        Raises:
            KeyError: One is missing.
        """
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})

    @property
    def studies(self) -> int:
        """Number of studies that it was measured on."""
        return int(self.count)

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of it, by name."""
        return {field.name: getattr(self, field.name).contiguous() for field in fields(self)}

    def distance(self, features: Features) -> float:
        """Distance of one study, features of shape `(D,)`; about 1 for a study of the same kind."""
        standard = (torch.from_numpy(features) - self.mean) / self.scale
        along = self.axes.double() @ standard
        beyond = torch.clamp(standard.square().sum() - along.square().sum(), min=0.0)
        squared = (along.square() / self.spread).sum() + beyond / self.rest
        return float(torch.sqrt(squared / len(standard)))


def threshold_of(distances: Sequence[float], *, false_alarms: float = FALSE_ALARMS) -> float:
    """The distance that a new study of the same kind exceeds with probability `false_alarms`.

    With enough held-out studies it is the split-conformal quantile of their distances. With fewer, no quantile reaches
    that far; then it is the upper end of the prediction interval for one more study, of log-distances taken as normal
    (t-distributed with n - 1 degrees of freedom), and at least the largest distance seen.

    Args:
        distances: Of held-out studies, two or more.
        false_alarms: The wanted share.
    """
    from scipy.stats import t

    seen = np.sort(np.asarray(distances, dtype=np.float64))
    rank = int(np.ceil((seen.size + 1) * (1 - false_alarms) - 1e-9))
    if rank <= seen.size:
        return float(seen[rank - 1])
    logs = np.log(np.maximum(seen, _SMALLEST))
    reach = t.ppf(1 - false_alarms, seen.size - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / seen.size)
    return float(max(np.exp(logs.mean() + reach), seen[-1]))


@torch.inference_mode()
def features_of(network: FusionNetwork, case: Case, recipe: Recipe, device: torch.device) -> Features | None:
    """The pooled image features of a study, shape `(D,)`; None for a network or a study without an image.

    Args:
        network: In evaluation mode.
        case: The study.
        recipe: States the size of a window.
        device: Where the network is.
    """
    encoder = network.image_encoder
    if encoder is None or not case.channel_present.any():
        return None
    i, j, k = case.image.shape[1:]
    present = torch.from_numpy(case.channel_present)[None].to(device)
    images = (
        sample_of(case, recipe.size, _NOTHING, start=start).image[None].to(device)
        for start in looked_at(window_starts((i, j, k), recipe.size))
    )
    return mean_features([pooled(encoder(image, present).pyramid)[0] for image in images])


def looked_at(starts: Sequence[Index]) -> list[Index]:
    """The windows of a study that its features come from, of all of them in any order."""
    ordered = sorted(starts)
    chosen = np.unique(np.linspace(0, len(ordered) - 1, min(MOST_WINDOWS, len(ordered))).round().astype(int))
    return [ordered[index] for index in chosen]


def pooled(pyramid: Sequence[Tensor]) -> Tensor:
    """Mean and deviation over space of every channel, level after level; shape `(B, D)`."""
    maps = [level.float().flatten(2) for level in pyramid]
    return torch.cat([part for level in maps for part in (level.mean(dim=2), level.std(dim=2))], dim=1)


def mean_features(windows: Sequence[Tensor]) -> Features:
    """The features of a study, shape `(D,)`, from those of the windows that are `looked_at`, each `(D,)`."""
    mean: Features = torch.stack(list(windows)).mean(dim=0).double().cpu().numpy()
    return mean


def merged(found: Sequence[Familiarity | None]) -> Familiarity | None:
    """One answer from the members of an ensemble: the mean of distance over threshold, against 1; None if one has none.

    One member keeps its own distance and threshold.
    """
    given = [one for one in found if one is not None]
    if not given or len(given) < len(found):
        return None
    if len(given) == 1:
        return given[0]
    return Familiarity(distance=float(np.mean([one.distance / one.threshold for one in given])), threshold=1.0)
