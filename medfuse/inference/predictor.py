"""A checkpoint, or the checkpoints of a cross-validation, that answer studies."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from medfuse.data.samples import Case, case_of
from medfuse.domain.labels import LabelSet
from medfuse.domain.prediction import ModelIdentity, Prediction, Scored, SegmentVolume
from medfuse.domain.segmentation import Segmentation
from medfuse.domain.study import Study
from medfuse.errors import UsageError
from medfuse.inference.augmented import views_of
from medfuse.inference.engines import ChosenEngine, PrecisionChoice
from medfuse.inference.ensemble import check_alike, combined_identity, merge
from medfuse.inference.familiarity import merged as merged_familiarity
from medfuse.inference.member import Answer, Member
from medfuse.inference.restore import restore
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint, ConformalThresholds
from medfuse.preprocess import PreparedStudy, Recipe, prepare_study

IMAGE, TEXT = "image", "text"


class Predictor:
    """Answers studies, one at a time. A study is read and prepared once, whatever the number of members.

    Args:
        members: One, or an ensemble, whose mean is the answer.
        without: Inputs to keep from the model: `text`, `image`, or names of channels.
        augmentations: Further views of each study that every member answers (see `medfuse.inference.augmented`).
        thresholds: Of the mean's own prediction sets, by finding; without them a set is what any member cannot rule
            out.

    Raises:
        CheckpointError: The members are not of one label set and recipe.
        UsageError: `without` names no input of the model, or leaves it none; or `augmentations` is negative.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        without: Collection[str] = (),
        augmentations: int = 0,
        thresholds: Mapping[str, ConformalThresholds] | None = None,
    ) -> None:
        check_alike([member.checkpoint for member in members])
        if augmentations < 0:
            raise UsageError(f"augmentations is {augmentations}; take 0 for the study as it is, or more")
        self.members = tuple(members)
        self.without = frozenset(without)
        self.thresholds = dict(thresholds or {})
        self.views = views_of(self.checkpoint, augmentations)
        self._check_without()

    @classmethod
    def from_checkpoint(
        cls,
        path: Path,
        *,
        device: str = "auto",
        without: Collection[str] = (),
        augmentations: int = 0,
        engine: str = "pytorch",
        precision: PrecisionChoice = "fp32",
    ) -> "Predictor":
        """Load a run's best checkpoint, the checkpoint at `path`, or the folds of a cross-validation as an ensemble.

        Args:
            path: A run folder, or its `best` or `last`.
            device: `auto`, or what torch calls it (`cpu`, `cuda:1`).
            without: Inputs to keep from the model.
            augmentations: Further views of each study.
            engine: What runs the network: a name of `medfuse.inference.engines.ENGINES`, or `auto` for the fastest on
                this machine that agrees with PyTorch.
            precision: fp32, bf16, or auto for the faster one that agrees.

        Raises:
            CheckpointError: There is none, it is broken, or the folds differ.
            UsageError: The device, the engine or the precision is not there, or `without` names no input of the model.
        """
        places, on = checkpoints.members(path), device_of(device)
        check_alike([checkpoints.describe(place) for place in places])
        members = [Member.load(place, on, engine=engine, precision=precision) for place in places]
        thresholds = checkpoints.read_ensemble(path) if len(places) > 1 else {}
        return cls(members, without=without, augmentations=augmentations, thresholds=thresholds)

    @property
    def engine_lines(self) -> tuple[str, ...]:
        """What was chosen to run each network, in words, once a study has been answered; empty where nothing was."""
        engines = [member.engine for member in self.members]
        return tuple(e.choice.sentence() for e in engines if isinstance(e, ChosenEngine) and e.choice is not None)

    @property
    def checkpoint(self) -> Checkpoint:
        """What the model is, or the first member of the ensemble."""
        return self.members[0].checkpoint

    @property
    def recipe(self) -> Recipe:
        """How a study becomes the model's input."""
        return self.checkpoint.recipe

    @property
    def identity(self) -> ModelIdentity:
        """The model's identity."""
        return combined_identity([member.checkpoint.identity for member in self.members])

    @property
    def label_set(self) -> LabelSet:
        """What the model predicts."""
        return self.checkpoint.label_set

    @property
    def shuffle_seed(self) -> int | None:
        """The seed by which it was trained on the reports of other patients, as a control; None for a common model."""
        config = self.checkpoint.config
        shuffled = config.get("data", {}).get("shuffle_reports", False)
        return int(config.get("seed", 0)) if shuffled else None

    @property
    def is_ensemble(self) -> bool:
        """Whether there are several members or views, so that each probability has a spread."""
        return len(self.members) * len(self.views) > 1

    def predict(self, study: Study) -> Scored:
        """Answer one study.

        Raises:
            StudyError: The study cannot be used.
        """
        return self.answer(self.prepare(study))

    def prepare(self, study: Study) -> PreparedStudy:
        """Read a study and bring it onto the model grid: the part of `predict` that needs no network.

        It is `prepare_study` with the model's recipe, so another process may do it and send what it gives.

        Raises:
            StudyError: The study cannot be used.
        """
        return prepare_study(study, self.recipe)

    def case_of(self, prepared: PreparedStudy) -> Case:
        """A prepared study as the network takes it, without what is kept from it."""
        return self._case(self._held_back(prepared))

    def answer(self, prepared: PreparedStudy) -> Scored:
        """Answer a prepared study: the part of `predict` that needs the network."""
        prepared = self._held_back(prepared)
        case = self._case(prepared)
        study = prepared.study
        begun = perf_counter()
        answer = merge(self._answers(case), self.thresholds)
        familiarity = merged_familiarity([member.familiarity(case) for member in self.members])
        answered = perf_counter()
        segmentation = None
        if answer.class_scores is not None:
            segmentation = restore(answer.class_scores, prepared.grid, prepared.source_grid, self.label_set)
        restored = perf_counter()
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            accession_number=study.accession_number,
            model=self.identity,
            findings=answer.findings,
            segment_volumes=_volumes(segmentation),
            series_used={name: series.key for name, series in prepared.series.items()},
            missing=self._missing(prepared),
            text_input=prepared.text if self._reads_text else "",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            preparation=prepared.preparation,
            targets=answer.targets,
            familiarity=familiarity,
            timings={**prepared.timings, "network": answered - begun, "restore": restored - answered},
        )
        return Scored(
            prediction=prediction,
            segmentation=segmentation,
            segmentation_series_uid=prepared.reference_series.key if segmentation else None,
        )

    def _answers(self, case: Case) -> Iterator[Answer]:
        """What each member says of each view, on the grid of the study."""
        for view in self.views:
            seen = view.of(case)
            words_stand = view.keeps_words(case.text)
            for member in self.members:
                answer = member.answer(seen)
                findings = answer.findings if words_stand else tuple(replace(f, evidence=()) for f in answer.findings)
                yield replace(answer, findings=findings, class_scores=view.undo(answer.class_scores))

    @property
    def _reads_text(self) -> bool:
        return self.members[0].network.text_encoder is not None

    @property
    def _channels(self) -> list[str]:
        return [rule.name for rule in self.recipe.channels]

    def _case(self, prepared: PreparedStudy) -> Case:
        """The study as the network takes it; channels that are kept from it are absent, as missing ones are."""
        case = case_of(prepared, self.recipe)
        kept_back = np.array([self._is_held_back(name) for name in self._channels])
        if not kept_back.any():
            return case
        image = np.where(kept_back[:, None, None, None], np.float32(0), case.image)
        return replace(case, image=image, channel_present=case.channel_present & ~kept_back, floor=None)

    def _held_back(self, prepared: PreparedStudy) -> PreparedStudy:
        return replace(prepared, text="") if TEXT in self.without else prepared

    def _is_held_back(self, channel: str) -> bool:
        return IMAGE in self.without or channel in self.without

    def _missing(self, prepared: PreparedStudy) -> tuple[str, ...]:
        absent = [name for name in self._channels if name not in prepared.series or self._is_held_back(name)]
        if self._reads_text and not prepared.text:
            absent.append(TEXT)
        return tuple(absent)

    def _check_without(self) -> None:
        sees = self.members[0].network.image_encoder is not None
        inputs = [*([IMAGE, *self._channels] if sees else []), *([TEXT] if self._reads_text else [])]
        unknown = sorted(self.without - set(inputs))
        if unknown:
            raise UsageError(f"the model has no input {', '.join(unknown)}; it takes: {', '.join(inputs)}")
        image_left = sees and not all(self._is_held_back(name) for name in self._channels)
        if not image_left and not (self._reads_text and TEXT not in self.without):
            raise UsageError(
                f"without {', '.join(sorted(self.without))} the model would see nothing; leave it an input"
            )


def _volumes(segmentation: Segmentation | None) -> tuple[SegmentVolume, ...]:
    if segmentation is None:
        return ()
    return tuple(
        SegmentVolume(name=segment.name, volume_mm3=segmentation.volume_mm3(segment))
        for segment in segmentation.segments
    )


def device_of(name: str) -> torch.device:
    """The device that `auto`, or torch's name of it, means.

    Raises:
        UsageError: It is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}; take --device auto") from error
    return device
