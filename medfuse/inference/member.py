"""One network's answer to one prepared study."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain.prediction import Familiarity, Finding, TargetPrediction
from medfuse.errors import CheckpointError
from medfuse.heads.targets import mean_outputs, read_out, shown_in
from medfuse.inference.familiarity import Features, TrainingSet, features_of
from medfuse.inference.findings import evidence_of, findings_of
from medfuse.inference.ranked import RankedScores
from medfuse.inference.sliding_window import Blend, Index, batched, merge_findings, window_starts
from medfuse.model import FusionNetwork
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.tensors import ModelOutput, TextTokens

WINDOWS_A_BATCH = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What one network says of one study.

    Args:
        findings: In the order of the label set.
        class_scores: Probability of each class, shape `(S1, I, J, K)` on the model grid, background first, or the
            highest of each voxel; None from a network that delineates nothing.
        targets: In the order of the label set.
        logits: Of the findings, before calibration, shape `(F,)`; None of several networks together.
    """

    findings: tuple[Finding, ...]
    class_scores: NDArray[np.float32] | RankedScores | None
    targets: tuple[TargetPrediction, ...] = ()
    logits: NDArray[np.float64] | None = None


class Member:
    """A checkpoint and its network on a device.

    Args:
        checkpoint: What the model is.
        network: Its weights.
        device: Where it runs.
        training_set: Where its training studies lie; None where that is not known.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: FusionNetwork,
        device: torch.device,
        training_set: TrainingSet | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.network = network.to(device).eval()
        self.training_set = training_set

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> "Member":
        """The member of a checkpoint's folder.

        Raises:
            CheckpointError: It is missing or broken.
        """
        checkpoint, network = checkpoints.load(directory)
        return cls(checkpoint, network, device, _training_set(directory, checkpoint))

    def embed(self, case: Case) -> Features | None:
        """The pooled image features of a study, shape `(D,)`; None without an image."""
        return features_of(self.network, case, self.checkpoint.recipe, self.device)

    def familiarity(self, case: Case) -> Familiarity | None:
        """How far a study is from the training set; None where that is not known, or without an image."""
        fitted = self.checkpoint.familiarity
        if fitted is None or self.training_set is None or (features := self.embed(case)) is None:
            return None
        return Familiarity(distance=self.training_set.distance(features), threshold=fitted.threshold)

    @torch.inference_mode()
    def answer(self, case: Case) -> Answer:
        """Answer a study, window by window."""
        label_set, shape = self.checkpoint.label_set, _grid_shape(case)
        delineates = self.network.segmentation is not None and bool(case.channel_present.any())
        blend = Blend.over(len(label_set.segments) + 1, shape) if delineates else None
        logits: list[Tensor] = []
        attention: list[Tensor] = []
        outputs: list[dict[str, Tensor]] = []
        shown: list[float] = []
        tokens: TextTokens | None = None
        for starts in batched(window_starts(shape, self.checkpoint.recipe.size), WINDOWS_A_BATCH):
            output, tokens = self._run(case, starts)
            logits += list(output.finding_logits.cpu())
            attention += list(output.text_attention.cpu())
            outputs += [
                {name: value[row].cpu() for name, value in output.target_outputs.items()} for row in range(len(starts))
            ]
            shown += shown_in(output).tolist()
            if blend is not None and output.segment_logits is not None:
                for start, scores in zip(starts, output.segment_logits.float().softmax(dim=1).cpu(), strict=True):
                    blend.add(scores, start)
        merged, window = merge_findings(logits)
        evidence = [
            evidence_of(attention[source][finding], tokens.offsets[0].cpu(), case.text) if tokens is not None else ()
            for finding, source in enumerate(window.tolist())
        ]
        read = mean_outputs(outputs, shown) if label_set.targets else {}
        return Answer(
            findings=findings_of(label_set.findings, merged, self.checkpoint.calibration, evidence),
            class_scores=None if blend is None else blend.mean(),
            targets=tuple(read_out(target, read[target.name]) for target in label_set.targets),
            logits=merged.double().numpy(),
        )

    def _run(self, case: Case, starts: Sequence[Index]) -> tuple[ModelOutput, TextTokens]:
        encoder = self.network.text_encoder
        recipe, label_set = self.checkpoint.recipe, self.checkpoint.label_set
        samples = [sample_of(case, recipe.size, label_set, start=start) for start in starts]
        batch = collate(samples, encoder.tokenize if encoder else None).to(self.device)
        return self.network(batch), batch.text


def _training_set(directory: Path, checkpoint: Checkpoint) -> TrainingSet | None:
    tensors = checkpoints.read_familiarity(directory, checkpoint)
    if not tensors:
        return None
    try:
        return TrainingSet.from_tensors(tensors)
    except KeyError as error:
        raise CheckpointError(
            f"{directory / checkpoints.FAMILIARITY} lacks {error}; medfuse calibrate writes it anew"
        ) from error


def _grid_shape(case: Case) -> Index:
    i, j, k = case.image.shape[1:]
    return i, j, k
