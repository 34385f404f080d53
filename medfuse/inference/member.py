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
from medfuse.domain.prediction import Finding
from medfuse.inference.findings import evidence_of, findings_of
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
        class_scores: Probability of each class, shape `(S1, I, J, K)` on the model grid, background first; None from a
            network that delineates nothing.
    """

    findings: tuple[Finding, ...]
    class_scores: NDArray[np.float32] | None


class Member:
    """A checkpoint and its network on a device.

    Args:
        checkpoint: What the model is.
        network: Its weights.
        device: Where it runs.
    """

    def __init__(self, checkpoint: Checkpoint, network: FusionNetwork, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.network = network.to(device).eval()

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> "Member":
        """The member of a checkpoint's folder.

        Raises:
            CheckpointError: It is missing or broken.
        """
        checkpoint, network = checkpoints.load(directory)
        return cls(checkpoint, network, device)

    @torch.inference_mode()
    def answer(self, case: Case) -> Answer:
        """Answer a study, window by window."""
        label_set, shape = self.checkpoint.label_set, _grid_shape(case)
        delineates = self.network.segmentation is not None and bool(case.channel_present.any())
        blend = Blend.over(len(label_set.segments) + 1, shape) if delineates else None
        logits: list[Tensor] = []
        attention: list[Tensor] = []
        tokens: TextTokens | None = None
        for starts in batched(window_starts(shape, self.checkpoint.recipe.size), WINDOWS_A_BATCH):
            output, tokens = self._run(case, starts)
            logits += list(output.finding_logits.cpu())
            attention += list(output.text_attention.cpu())
            if blend is not None and output.segment_logits is not None:
                for start, scores in zip(starts, output.segment_logits.float().softmax(dim=1).cpu(), strict=True):
                    blend.add(scores, start)
        merged, window = merge_findings(logits)
        evidence = [
            evidence_of(attention[source][finding], tokens.offsets[0].cpu(), case.text) if tokens is not None else ()
            for finding, source in enumerate(window.tolist())
        ]
        findings = findings_of(label_set.findings, merged, self.checkpoint.calibration, evidence)
        return Answer(findings=findings, class_scores=None if blend is None else blend.mean())

    def _run(self, case: Case, starts: Sequence[Index]) -> tuple[ModelOutput, TextTokens]:
        encoder = self.network.text_encoder
        recipe, label_set = self.checkpoint.recipe, self.checkpoint.label_set
        samples = [sample_of(case, recipe.size, label_set, start=start) for start in starts]
        batch = collate(samples, encoder.tokenize if encoder else None).to(self.device)
        return self.network(batch), batch.text


def _grid_shape(case: Case) -> Index:
    i, j, k = case.image.shape[1:]
    return i, j, k
