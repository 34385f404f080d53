"""One study as a reader sees it: what the model says, the masks that exist, and who said what."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.domain import Prediction, Review, Study
from medfuse.review.pages import WorklistRow
from medfuse.review.readings import Reading

_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Delineation:
    """A mask that exists beside the model's.

    Args:
        id: What names it in decisions (`Subject.delineation`): a hash of its place, or of a corrected one's content.
        label: For a person: its place below the study's folder, or who corrected what.
        path: The file; `medfuse.ingest.read_segmentation` reads it.
        reader: Who corrected it; empty for one that came with the study.
    """

    id: str
    label: str
    path: Path
    reader: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A study that was opened.

    Args:
        handle: What names it in a URL.
        title: What a person calls it.
        row: Its row of the worklist.
        prediction: What the model says; None where there is nothing, or it is hidden.
        problem: Why there is no prediction; empty where there is one, or none is asked for.
        segmentation: The model's label map; None where there is none, or it is hidden.
        is_blind: Whether the model's answer is hidden from this reader until revealed.
        corrections: Corrected masks, each with its reader.
        readings: What stands, by reader, of those that this reader may see.
        history: Everything that was said, oldest first, as far as this reader may see it.
        open_study: Finds the study on the disk.
    """

    handle: str
    title: str
    row: WorklistRow
    prediction: Prediction | None = None
    problem: str = ""
    segmentation: Path | None = None
    is_blind: bool = False
    corrections: tuple[Delineation, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    history: tuple[Review, ...] = ()
    open_study: Callable[[], Study]

    def study(self) -> Study:
        """The study with its series and reports, as it lies on the disk; keep it, since this looks through a folder.

        Raises:
            UsageError: Its folder is not known, or is gone.
            StudyError: Its files cannot be used.
        """
        return self.open_study()

    def delineations(self, study: Study) -> tuple[Delineation, ...]:
        """Every mask beside the model's: those that came with the study, then the corrected ones."""
        return (*delineations_of(study), *self.corrections)


def delineations_of(study: Study) -> tuple[Delineation, ...]:
    """The masks that came with a study, several readers' side by side, in the order found."""
    folder = study.path.parent if study.path.is_file() else study.path
    return tuple(
        Delineation(id=_id(_below(path, folder)), label=_below(path, folder), path=path) for path in study.segmentations
    )


def corrections_of(readings: Mapping[str, Reading], path_of: Callable[[str], Path]) -> tuple[Delineation, ...]:
    """The corrected masks that stand, one a reader and file."""
    found: dict[tuple[str, str], Delineation] = {}
    for reader, reading in readings.items():
        for review in reading.decisions.values():
            if review.mask_sha256:
                label = f"{review.subject or 'whole study'}, corrected by {reader}"
                found[reader, review.mask_sha256] = Delineation(
                    id=review.mask_sha256, label=label, path=path_of(review.mask_sha256), reader=reader
                )
    return tuple(found.values())


def visible_history(history: Sequence[Review], reader: str, *, sees_others: bool) -> tuple[Review, ...]:
    """What a reader may see of what was said."""
    return tuple(review for review in history if sees_others or review.reviewer == reader)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _id(place: str) -> str:
    return hashlib.blake2b(place.encode(errors="surrogateescape"), digest_size=_ID_BYTES).hexdigest()
