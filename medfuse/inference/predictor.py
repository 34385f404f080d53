"""A checkpoint that answers studies."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from medfuse.data.collate import collate
from medfuse.data.samples import Case, case_of, sample_of
from medfuse.domain.labels import LabelSet
from medfuse.domain.prediction import Evidence, ModelIdentity, Prediction, Scored, SegmentVolume
from medfuse.domain.segmentation import Segmentation
from medfuse.domain.study import Study
from medfuse.errors import UsageError
from medfuse.inference.findings import evidence_of, findings_of
from medfuse.inference.restore import restore
from medfuse.inference.sliding_window import Blend, Index, batched, merge_findings, window_starts
from medfuse.model import FusionNetwork
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import PreparedStudy, prepare_study
from medfuse.tensors import ModelOutput, TextTokens

WINDOWS_A_BATCH = 2


class Predictor:
    """Answers studies, one at a time.

    Args:
        checkpoint: What the model is.
        network: Its weights.
        device: Where it runs.
    """

    def __init__(self, checkpoint: Checkpoint, network: FusionNetwork, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self._network = network.to(device).eval()

    @classmethod
    def from_checkpoint(cls, path: Path, *, device: str = "auto") -> "Predictor":
        """Load a run's best checkpoint, or the checkpoint at `path`.

        Args:
            path: A run folder, or its `best` or `last`.
            device: `auto`, or what torch calls it (`cpu`, `cuda:1`).

        Raises:
            CheckpointError: There is none, or it is broken.
            UsageError: The device is not there.
        """
        checkpoint, network = checkpoints.load(checkpoints.locate(path))
        return cls(checkpoint, network, _device(device))

    @property
    def identity(self) -> ModelIdentity:
        """The model's identity."""
        return self.checkpoint.identity

    @property
    def label_set(self) -> LabelSet:
        """What the model predicts."""
        return self.checkpoint.label_set

    def predict(self, study: Study) -> Scored:
        """Answer one study.

        Raises:
            StudyError: The study cannot be used.
        """
        prepared = prepare_study(study, self.checkpoint.recipe)
        case = case_of(prepared, self.checkpoint.recipe)
        logits, evidence, segmentation = self._answer(case, prepared)
        findings = findings_of(self.label_set.findings, logits, self.checkpoint.calibration, evidence)
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            accession_number=study.accession_number,
            model=self.identity,
            findings=findings,
            segment_volumes=_volumes(segmentation),
            series_used={name: series.key for name, series in prepared.series.items()},
            missing=self._missing(prepared),
            text_input=prepared.text if self._network.text_encoder else "",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            preparation=prepared.preparation,
        )
        return Scored(
            prediction=prediction,
            segmentation=segmentation,
            segmentation_series_uid=prepared.reference_series.key if segmentation else None,
        )

    @torch.inference_mode()
    def _answer(
        self, case: Case, prepared: PreparedStudy
    ) -> tuple[Tensor, list[tuple[Evidence, ...]], Segmentation | None]:
        size = self.checkpoint.recipe.size
        shape = prepared.grid.shape
        blend = Blend.over(len(self.label_set.segments) + 1, shape) if self._network.segmentation else None
        logits: list[Tensor] = []
        attention: list[Tensor] = []
        tokens: TextTokens | None = None
        for starts in batched(window_starts(shape, size), WINDOWS_A_BATCH):
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
        if blend is None:
            return merged, evidence, None
        return merged, evidence, restore(blend.mean(), prepared.grid, prepared.source_grid, self.label_set)

    def _run(self, case: Case, starts: Sequence[Index]) -> tuple[ModelOutput, TextTokens]:
        encoder = self._network.text_encoder
        samples = [sample_of(case, self.checkpoint.recipe.size, self.label_set, start=start) for start in starts]
        batch = collate(samples, encoder.tokenize if encoder else None).to(self.device)
        return self._network(batch), batch.text

    def _missing(self, prepared: PreparedStudy) -> tuple[str, ...]:
        absent = [rule.name for rule in self.checkpoint.recipe.channels if rule.name not in prepared.series]
        if self._network.text_encoder is not None and not prepared.text:
            absent.append("text")
        return tuple(absent)


def _volumes(segmentation: Segmentation | None) -> tuple[SegmentVolume, ...]:
    if segmentation is None:
        return ()
    return tuple(
        SegmentVolume(name=segment.name, volume_mm3=segmentation.volume_mm3(segment))
        for segment in segmentation.segments
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}; take --device auto") from error
    return device
