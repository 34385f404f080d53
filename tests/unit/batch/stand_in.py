"""Stages of scoring that need no model: each study is a text file, whose words say what goes wrong with it."""

import functools
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medfuse.batch.pipeline import Job
from medfuse.batch.stages import AnsweredStudy, ModelFacts, ReadingTask, StageFactories, writing_stage
from medfuse.domain import Modality, ModelIdentity, Scored, Series, Study
from medfuse.errors import StudyError
from medfuse.preprocess import ChannelRule, Recipe
from tests.unit.outputs import cases

RECIPE = Recipe(channels=(ChannelRule(name="t1"),), spacing_mm=(1, 1, 1), size=(16, 16, 16))
WITHOUT_SEGMENTS = replace(cases.LABELS, segments=())
PLANTED = "Doe^Jane"


@dataclass(frozen=True)
class Read:
    """A study that was read."""

    study: Study
    word: str


def misbehave(stage: str, word: str) -> None:
    """Do what a word like `hang-reading` asks of a stage."""
    what, _, where = word.partition("-")
    if where != stage:
        return
    if what == "hang":
        time.sleep(600)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(3)
    if what == "eat":
        hoard = [bytearray(b"x" * (64 << 20)) for _ in range(8)]
        time.sleep(600 + len(hoard))
    if what == "fault":
        raise ValueError(PLANTED)
    if what == "refuse":
        raise StudyError("it is refused", reason="NO_FITTING_SERIES")


def reading() -> tuple[Any, None]:
    """The stage that reads the word."""

    def read(task: ReadingTask) -> Read:
        word = task.study.series[0].files[0].read_text()
        misbehave("reading", word)
        return Read(task.study, word)

    return read, None


def network(seconds: float = 0.0, model_hash: str = "one") -> tuple[Any, ModelFacts]:
    """The stage that answers; each answer takes `seconds`, and follows from the study alone."""
    identity = ModelIdentity(name="made", version="0", weights_sha256=model_hash * 8, config_sha256="")
    facts = ModelFacts(
        label_set=WITHOUT_SEGMENTS, identity=identity, is_ensemble=False, model_hash=model_hash, recipe=RECIPE
    )

    def answer(task: Read) -> AnsweredStudy:
        misbehave("network", task.word)
        time.sleep(seconds)
        uid = task.study.study_instance_uid
        prediction = replace(
            cases.prediction(uid),
            model=identity,
            segment_volumes=(),
            created_at=str(time.time()),
            timings={"read": 0.1, "network": 0.2},
        )
        first, *rest = prediction.findings
        share = int(uid.rsplit(".", 1)[-1]) / 1000
        findings = (replace(first, probability=share), *rest)
        return AnsweredStudy(study=task.study, scored=Scored(prediction=replace(prediction, findings=findings)))

    return answer, facts


def writing(output: Path) -> tuple[Any, None]:
    """The stage that writes, with the words that concern it."""
    write, _ = writing_stage(output, None)

    def slowly(task: AnsweredStudy) -> Scored:
        misbehave("writing", task.study.series[0].files[0].read_text())
        answer: Scored = write(task)
        return answer

    return slowly, None


def plain_writing(output: Path) -> tuple[Any, None]:
    """The stage that writes, whatever the study."""
    return writing_stage(output, None)


def broken() -> tuple[Any, None]:
    """A stage that cannot be built."""
    raise StudyError("no model here")


def factories(output: Path, *, seconds: float = 0.0, model_hash: str = "one") -> StageFactories:
    """The three stages."""
    return StageFactories(
        reading=reading,
        network=functools.partial(network, seconds, model_hash),
        writing=functools.partial(writing, output),
    )


def study(folder: Path, number: int, word: str = "fine") -> Study:
    """A study whose file holds a word."""
    path = folder / f"{number}.nii"
    if not path.is_file() or path.read_text() != word:
        path.write_text(word)
    series = Series(series_instance_uid=f"1.3.{number}", modality=Modality.MR, files=(path,))
    return Study(study_instance_uid=f"1.2.{number}", patient_key="k", path=path, series=(series,))


def job(one: Study) -> Job:
    """The job of a study."""
    from medfuse.batch.sources import studies_source

    (made,) = studies_source([one]).jobs
    return made
