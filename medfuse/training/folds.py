"""Cross-validation: one run a fold, `RUN/fold-0` and on, of studies that are read once.

Each fold is what `data.test_fold` makes of it. `RUN/folds.json` names them once all are trained: with it the folder
is a model of several members (see `medfuse.model.checkpoint.members`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medfuse.errors import UsageError
from medfuse.model.checkpoint import fold_name, write_members
from medfuse.storage import write_file
from medfuse.training.options import TrainingPlan
from medfuse.training.studies import Studies, read_studies
from medfuse.training.trainer import TrainingResult, Watcher, is_finished, train


class FoldWatcher(Watcher, Protocol):
    """Who is told how a cross-validation goes."""

    def on_fold(self, fold: int, folds: int) -> None:
        """A fold begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldsResult:
    """What a cross-validation came to.

    Args:
        trained: Fold -> what its run came to, for the folds that were trained now.
        kept: Folds that had been trained before.
    """

    trained: Mapping[int, TrainingResult]
    kept: tuple[int, ...]


def train_folds(
    plans: Sequence[TrainingPlan],
    output: Path,
    watcher: FoldWatcher,
    *,
    resume: bool = False,
    studies: Studies | None = None,
) -> FoldsResult:
    """Train every fold that is not trained yet.

    Args:
        plans: One a fold, alike but for `data.test_fold`, which is 0 and on.
        output: Folder of the folds; made when it is not there.
        watcher: Is told how it goes.
        resume: Leave finished folds alone and go on with the one that was stopped.
        studies: What was read of the manifest before; None to read it when a fold needs it.

    Raises:
        UsageError: The folder holds a run of another kind.
        ManifestError: The manifest does not fit the plans.
        CheckpointError: A fold cannot be resumed, or was made by another config.
        StorageError: The folder cannot be written.
    """
    if (output / "last").exists() or (output / "best").exists():
        raise UsageError(f"{output} holds a run of one fold; train the folds into another folder")
    kept = tuple(fold for fold, plan in enumerate(plans) if resume and is_finished(plan, output / fold_name(fold)))
    left = {fold: plan for fold, plan in enumerate(plans) if fold not in kept}
    if left and studies is None:
        studies = read_studies(plans[0], watcher.on_studies, watcher.on_study)
    trained = {}
    write_file(output / "config.yaml", lambda aside: aside.write_text(plans[0].config_yaml, encoding="utf-8"))
    for fold, plan in left.items():
        watcher.on_fold(fold, len(plans))
        trained[fold] = train(plan, output / fold_name(fold), watcher, resume=resume, studies=studies)
    write_members(output, len(plans))
    return FoldsResult(trained=trained, kept=kept)
