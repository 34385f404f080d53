"""One network's answer to one prepared study."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.data.samples import Case
from medfuse.domain.prediction import Familiarity, Finding, TargetPrediction
from medfuse.errors import CheckpointError
from medfuse.heads.targets import mean_outputs, read_out
from medfuse.inference.engines import Engine, PrecisionChoice, PyTorchEngine, engine_for
from medfuse.inference.familiarity import Features, TrainingSet, features_of
from medfuse.inference.findings import evidence_of, findings_of
from medfuse.inference.ranked import RankedScores
from medfuse.inference.sliding_window import merge_findings
from medfuse.inference.windows import answer_windows
from medfuse.model import FusionNetwork
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint


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
        engine: Runs the network over windows; PyTorch in fp32 when left out. What is not read in windows (`embed`, the
            explanations) stays with the network itself.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: FusionNetwork,
        device: torch.device,
        training_set: TrainingSet | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.network = network.to(device).eval()
        self.training_set = training_set
        self.engine = engine or PyTorchEngine(self.network, checkpoint.recipe.size)

    @classmethod
    def load(
        cls,
        directory: Path,
        device: torch.device,
        *,
        engine: str = "pytorch",
        precision: PrecisionChoice = "fp32",
    ) -> "Member":
        """The member of a checkpoint's folder.

        Args:
            directory: The checkpoint.
            device: Where the network runs.
            engine: A name of `medfuse.inference.engines.ENGINES`, or `auto`.
            precision: fp32, bf16, or auto.

        Raises:
            CheckpointError: It is missing or broken.
            UsageError: There is no such engine or precision.
        """
        checkpoint, network = checkpoints.load(directory)
        runs = engine_for(network.to(device), checkpoint.recipe.size, engine=engine, precision=precision)
        return cls(checkpoint, network, device, _training_set(directory, checkpoint), runs)

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
        label_set = self.checkpoint.label_set
        said = answer_windows(self.engine, case, self.checkpoint.recipe, label_set)
        merged, window = merge_findings(list(said.finding_logits))
        evidence = [
            evidence_of(said.text_attention[source, finding], said.offsets, case.text)
            for finding, source in enumerate(window.tolist())
        ]
        read = mean_outputs(said.target_outputs, said.shown) if label_set.targets else {}
        return Answer(
            findings=findings_of(label_set.findings, merged, self.checkpoint.calibration, evidence),
            class_scores=said.class_scores,
            targets=tuple(read_out(target, read[target.name]) for target in label_set.targets),
            logits=merged.double().numpy(),
        )


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
