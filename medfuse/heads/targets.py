"""Targets: one class of several, an ordered grade or a number, each read off by a learned query.

    CLASSES  (B, C)      one logit a class
    GRADES   (B, C - 1)  logits of "above grade k", descending in k: one score against ordered thresholds
    NUMBER   (B, 1)      the number in its own unit

Several answers to one study (its windows, the members of an ensemble) are brought together here as well.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from medfuse.domain.labels import Target, TargetKind
from medfuse.domain.prediction import TargetPrediction
from medfuse.heads.look import REGIONS, Look, look_at, mean_of_present
from medfuse.tensors import FusedFeatures, ModelOutput, segment_probabilities

RAREST = 1e-3
"""No class is taken to be rarer when the biases are set from the training set."""
NARROWEST = 0.05
"""Smallest distance between two thresholds that `fit` sets, so that a grade that nobody has keeps a place."""
LEAST_SHOWN = 1e-6
"""Share of the segments that a window counts with at least, so that a study without any is answered too."""


class TargetHead(nn.Module):
    """Answers targets as `FindingHead` answers findings: a query each, one look at each source, a read-out.

    A grade's thresholds ascend by construction, so that its probabilities are never negative. A number is learnt
    standardised by the mean and deviation of the training set, which are buffers and travel in the checkpoint; what
    comes out is in the number's unit.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        targets: What is answered, in order.
        regions: Whether region tokens come too.
        heads: Attention heads of each query; must divide `width`.
        dropout: On what was seen and in the read-out.
        late: Read out each source by itself.

    Source: Liu et al. 2021, "Query2Label" (queries); Cao, Mirjalili and Raschka 2020, "Rank consistent ordinal
    regression" (CORAL: one score, a bias a threshold); McCullagh 1980, "Regression models for ordinal data" (ordered
    thresholds).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        targets: Sequence[Target],
        regions: bool = False,
        heads: int = 4,
        dropout: float = 0.4,
        late: bool = False,
    ) -> None:
        super().__init__()
        self.targets = tuple(targets)
        self.late = late
        sources = (*modalities, REGIONS) if regions else tuple(modalities)
        self.looks = nn.ModuleDict({source: Look(width, len(self.targets), heads) for source in sources})
        self.read_out = nn.ModuleDict(
            {source: _ReadOut(width, self.targets, dropout) for source in (sources if late else ("all",))}
        )
        self.offsets = nn.ParameterList(_even_offsets(target) for target in self.targets)
        self.register_buffer("mean", torch.zeros(len(self.targets)))
        self.register_buffer("deviation", torch.ones(len(self.targets)))

    @torch.no_grad()
    def fit(self, values: Float[Tensor, "n T"], mask: Bool[Tensor, "n T"]) -> None:
        """Set what follows from the training set: the scale of numbers, and how frequent each class and grade is.

        Args:
            values: Positions of classes and grades, numbers as they are.
            mask: Which are known; a target that is known of no study is left alone.
        """
        for position, target in enumerate(self.targets):
            known = values[mask[:, position], position]
            if not len(known):
                continue
            if target.kind is TargetKind.NUMBER:
                self.mean[position] = known.mean()
                spread = known.std(correction=0)
                self.deviation[position] = spread if spread > 0 else 1.0
            else:
                self.offsets[position].copy_(_fitted_offsets(target, known))

    def forward(
        self, fused: FusedFeatures, regions: Float[Tensor, "B M D"] | None, has_regions: Bool[Tensor, "B"] | None
    ) -> dict[str, Tensor]:
        """The outputs of each target.

        Args:
            fused: Tokens of every modality.
            regions: Tokens of what the segmentation measures, or None.
            has_regions: Which studies have an image to measure.
        """
        seen, _, there = look_at(self.looks, fused, regions, has_regions)
        if self.late:
            raw = mean_of_present({name: self.read_out[name](part) for name, part in seen.items()}, there)
        else:
            raw = self.read_out["all"](torch.stack(list(seen.values())).sum(dim=0))
        parts = raw.split([_read(target) for target in self.targets], dim=1)
        return {target.name: self._output(position, parts[position]) for position, target in enumerate(self.targets)}

    def _output(self, position: int, raw: Tensor) -> Tensor:
        kind, offsets = self.targets[position].kind, self.offsets[position]
        if kind is TargetKind.GRADES:
            return torch.sub(raw, _thresholds(offsets))
        plain = torch.add(raw, offsets)
        return plain if kind is TargetKind.CLASSES else plain * self.deviation[position] + self.mean[position]


class _ReadOut(nn.Module):
    """What each query saw, (B, T, D) -> what every target takes, one behind the other, (B, K)."""

    def __init__(self, width: int, targets: Sequence[Target], dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.dropout = nn.Dropout(dropout)
        self.weights = nn.ParameterList(torch.randn(_read(target), width) * 0.05 for target in targets)

    def forward(self, seen: Float[Tensor, "B T D"]) -> Float[Tensor, "B K"]:
        thought = self.dropout(seen + self.inner(seen))
        return torch.cat([thought[:, position] @ weight.T for position, weight in enumerate(self.weights)], dim=1)


def read_out(target: Target, outputs: Float[Tensor, "K"]) -> TargetPrediction:
    """What the outputs of one study say.

    Args:
        target: Which target.
        outputs: Of one study, as `ModelOutput.target_outputs` holds them for a batch.
    """
    said = outputs.detach().double().cpu()
    if target.kind is TargetKind.NUMBER:
        return TargetPrediction(name=target.name, kind=target.kind, value=said.item(), unit=target.unit)
    if target.kind is TargetKind.CLASSES:
        probabilities, value = said.softmax(dim=0), None
    else:
        above = torch.cat([said.new_ones(1), said.sigmoid(), said.new_zeros(1)])
        probabilities = (above[:-1] - above[1:]).clamp(min=0)
        value = (probabilities * torch.arange(len(probabilities))).sum().item()
    return TargetPrediction(
        name=target.name,
        kind=target.kind,
        classes=target.classes,
        probabilities=tuple(probabilities.tolist()),
        value=value,
    )


def shown_in(output: ModelOutput, overlapping: bool = False) -> Float[Tensor, "B"]:
    """How much each row of a batch shows of the segments, by which windows of one study are weighed for targets.

    Training teaches targets in blocks that show a segment, and scoring believes such windows: the mean probability of
    the foreground, and ones for a model without segments.

    Args:
        output: Of windows.
        overlapping: Whether segments may overlap; the most probable one of a voxel then stands for the foreground.
    """
    if output.segment_logits is None:
        rows = next(iter(output.target_outputs.values()), output.finding_logits)
        return rows.new_ones(len(rows))
    probabilities = segment_probabilities(output.segment_logits, overlapping)
    foreground = probabilities.amax(dim=1) if overlapping else probabilities.sum(dim=1)
    return foreground.mean(dim=(1, 2, 3)).clamp(min=LEAST_SHOWN)


def mean_outputs(windows: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """The outputs of a study from those of its windows: their weighted mean.

    Args:
        windows: Target -> outputs `(K,)`, one mapping a window.
        weights: Of each window, above zero (see `shown_in`).
    """
    share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    return {
        name: (torch.stack([window[name].double() for window in windows]) * share[:, None]).sum(dim=0).float()
        for name in windows[0]
    }


def mean_prediction(said: Sequence[TargetPrediction]) -> TargetPrediction:
    """The answer of an ensemble to one target: the mean of its members' probabilities and of their values."""
    first, count = said[0], len(said)
    values = [one.value for one in said if one.value is not None]
    return TargetPrediction(
        name=first.name,
        kind=first.kind,
        classes=first.classes,
        probabilities=tuple(sum(column) / count for column in zip(*(one.probabilities for one in said), strict=True)),
        value=sum(values) / count if values else None,
        unit=first.unit,
    )


def _read(target: Target) -> int:
    """How many numbers a target's read-out gives."""
    return len(target.classes) if target.kind is TargetKind.CLASSES else 1


def _even_offsets(target: Target) -> Tensor:
    """The offsets of a target whose classes are all as frequent."""
    if target.kind is TargetKind.NUMBER:
        return torch.zeros(1)
    return _fitted_offsets(target, torch.arange(len(target.classes), dtype=torch.float32))


def _fitted_offsets(target: Target, known: Float[Tensor, "n"]) -> Tensor:
    """The offsets that say how frequent each class is, or each grade, when nothing is known of a study.

    Those of a grade are its first threshold, and what softplus turns into the distances between the others.
    """
    counts = torch.bincount(known.long().cpu(), minlength=len(target.classes)).float()
    shares = (counts / counts.sum()).clamp(min=RAREST)
    shares = shares / shares.sum()
    if target.kind is TargetKind.CLASSES:
        return shares.log()
    thresholds = shares.cumsum(dim=0)[:-1].logit()
    steps = thresholds.diff().clamp(min=NARROWEST)
    return torch.cat([thresholds[:1], steps.expm1().log()])


def _thresholds(offsets: Float[Tensor, "K"]) -> Float[Tensor, "K"]:
    return torch.cat([offsets[:1], softplus(offsets[1:])]).cumsum(dim=0)
