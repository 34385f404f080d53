"""The three stages of scoring a study, each built in a process of its own: reading, the network, writing.

Reading meets the codecs, which are what crashes on a damaged file; the network needs the most time; writing compresses.
What one stage gives the next one takes. torch and the DICOM libraries load inside the processes alone.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.domain import LabelSet, ModelIdentity, QualityFlag, Scored, Study
from medfuse.errors import StorageError, StudyError

if TYPE_CHECKING:
    from medfuse.batch.gates import Policy
    from medfuse.batch.worker import Factory, Stage
    from medfuse.explain import Explanation
    from medfuse.preprocess import PreparedStudy, Recipe
    from medfuse.preprocess.ranges import TrainingRanges

LOG = logging.getLogger(__name__)
READING_THREADS = 1
"""Threads of one reading process: the cores belong to the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model scores, and how.

    Args:
        checkpoints: Run folders or checkpoints; several answer as one ensemble.
        device: `auto`, or what torch calls it.
        augmentations: Further views of each study, whose mean is the answer.
        explains: Whether every answer is explained.
        more: Further arguments of `Predictor.from_checkpoint`, by name.
    """

    checkpoints: tuple[Path, ...]
    device: str = "auto"
    augmentations: int = 0
    explains: bool = False
    more: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the run has to know of the model, which lives in another process.

    Args:
        label_set: What it predicts.
        identity: Who speaks.
        is_ensemble: Whether each probability has a spread.
        model_hash: Hash of the checkpoints: weights, calibration and all.
        recipe: How a study is prepared.
        reads_text: Whether it reads text.
        ranges: What its training studies looked like; None where nobody noted it.
    """

    label_set: LabelSet
    identity: ModelIdentity
    is_ensemble: bool
    model_hash: str
    recipe: "Recipe"
    reads_text: bool = False
    ranges: "TrainingRanges | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingTask:
    """A study to read and prepare.

    Args:
        study: The study.
        model: What it is prepared for.
        policy: What to do about a study that is unlike those of training.
    """

    study: Study
    model: ModelFacts
    policy: "Policy"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadStudy:
    """A prepared study with its flags."""

    prepared: "PreparedStudy"
    flags: tuple[QualityFlag, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnsweredStudy:
    """A study with its answer, and its explanation where one was asked for; not written yet."""

    study: Study
    scored: Scored
    explanation: "Explanation | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFactories:
    """What builds each stage in its process.

    Args:
        reading: `ReadingTask` -> `ReadStudy`.
        network: `ReadStudy` -> `AnsweredStudy`; says `ModelFacts` of itself.
        writing: `AnsweredStudy` -> `Scored` without its label map, with its timings.
    """

    reading: "Factory"
    network: "Factory"
    writing: "Factory"

    @classmethod
    def of(cls, model: ModelOptions, output: Path, outputs: Sequence[str] | None) -> "StageFactories":
        """The stages of a model whose results go to a folder.

        Args:
            model: Which model.
            output: Where the folders of the studies go.
            outputs: Names of the files to write; None for the usual ones.
        """
        names = None if outputs is None else tuple(outputs)
        return cls(
            reading=reading_stage, network=partial(network_stage, model), writing=partial(writing_stage, output, names)
        )


def reading_stage() -> "tuple[Stage, None]":
    """Build the stage that reads and prepares."""
    import torch

    from medfuse.batch.gates import flags_of
    from medfuse.preprocess import prepare_study

    if parent_process() is not None:
        torch.set_num_threads(READING_THREADS)

    def read(task: ReadingTask) -> ReadStudy:
        model = task.model
        prepared = prepare_study(task.study, model.recipe)
        flags = flags_of(prepared, model.recipe, model.ranges, reads_text=model.reads_text)
        return ReadStudy(prepared=prepared, flags=task.policy.judge(flags))

    return read, None


def network_stage(options: ModelOptions) -> "tuple[Stage, ModelFacts]":
    """Build the stage that holds the model.

    Raises:
        CheckpointError: There is none, it is broken, or they differ.
        UsageError: The device is not there.
    """
    from medfuse.batch.explaining import explained
    from medfuse.batch.fingerprints import files_hash
    from medfuse.inference import Predictor
    from medfuse.model import checkpoint as checkpoints

    more = dict(options.more) | ({"augmentations": options.augmentations} if options.augmentations else {})
    loaded = [Predictor.from_checkpoint(path, device=options.device, **more) for path in options.checkpoints]
    predictor = loaded[0]
    if len(loaded) > 1:
        members = [member for one in loaded for member in one.members]
        again: dict[str, Any] = {"augmentations": options.augmentations} if options.augmentations else {}
        predictor = Predictor(members, **again)
    places = [place for path in options.checkpoints for place in checkpoints.members(path)]
    facts = ModelFacts(
        label_set=predictor.label_set,
        identity=predictor.identity,
        is_ensemble=predictor.is_ensemble or options.augmentations > 0,
        model_hash=files_hash(place / checkpoints.DESCRIPTION for place in places),
        recipe=predictor.recipe,
        reads_text=predictor.checkpoint.spec.text is not None,
        ranges=predictor.checkpoint.ranges,
    )

    said: set[str] = set()

    def answer(task: ReadStudy) -> AnsweredStudy:
        scored = predictor.answer(task.prepared)
        for line in predictor.engine_lines:
            if line not in said:
                said.add(line)
                LOG.info("%s", line)
        scored, explanation = explained(predictor, task.prepared, scored) if options.explains else (scored, None)
        quality = (*scored.prediction.quality, *task.flags)
        scored = replace(scored, prediction=replace(scored.prediction, quality=quality))
        return AnsweredStudy(study=task.prepared.study, scored=scored, explanation=explanation)

    return answer, facts


def writing_stage(output: Path, outputs: tuple[str, ...] | None) -> "tuple[Stage, None]":
    """Build the stage that writes results."""
    from medfuse.batch.explaining import write_beside
    from medfuse.outputs import study_folder, write_study_outputs

    more: dict[str, Any] = {} if outputs is None else {"outputs": outputs}

    def write(task: AnsweredStudy) -> Scored:
        begun = time.perf_counter()
        prediction = task.scored.prediction
        refuse_protected(study_folder(output, prediction.study_instance_uid))
        folder = write_study_outputs(task.scored, task.study, output, **more)
        if task.explanation is not None:
            write_beside(task.explanation, task.study, folder)
        timings = {**prediction.timings, "save": time.perf_counter() - begun}
        return Scored(prediction=replace(prediction, timings=timings))

    return write, None


def refuse_protected(folder: Path) -> None:
    """Refuse a study whose older results nobody may change: their folder has no permission to write.

    Raises:
        StudyError: `OUTPUT_NOT_WRITABLE`.
        StorageError: The place cannot even be looked at.
    """
    try:
        mode = folder.stat().st_mode if folder.is_dir() else 0o200
    except OSError as error:
        raise StorageError(f"cannot look at {folder}: {error.strerror}") from error
    if not mode & 0o222:
        detail = f"{folder} is read-only, so the older results in it stay; allow writing (chmod u+w) or remove it"
        raise StudyError(detail, reason="OUTPUT_NOT_WRITABLE")
