"""Reviews as training data: a manifest that `medfuse train` takes, with what readers hold to be right as its labels.

A finding's label is what its readers say: the majority, and UNCERTAIN where they are even. A verdict alone takes the
model's call as right or wrong, a value that a reader gave counts as it stands. A study that nobody decided a finding of
is NOT_ASSESSED, never the model's guess. `<name>.labels.csv` beside the manifest holds the same labels with their
provenance, READER.

A study whose masks were corrected or rejected gets a folder of its own under `<name>.studies`: links to its images, its
reports as text, and the masks that stand, so that a scan finds the corrected mask as the segmentation and no other. The
latest corrected mask counts. What a model drew and a reader merely accepted is no label.
"""

import dataclasses
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.domain import LabelValue, Provenance, Review, Study, SubjectKind, Verdict
from medfuse.errors import StudyError, UsageError
from medfuse.ingest import ManifestRow, row_of, write_manifest
from medfuse.ingest.labels import write_labels
from medfuse.ingest.scan import scan_tree
from medfuse.review.cases import delineations_of
from medfuse.review.exports import StudyReview, study_reviews
from medfuse.review.readings import Reading
from medfuse.storage import storage, whole_folder

if TYPE_CHECKING:
    from medfuse.review.room import ReadingRoom

_LOG = logging.getLogger(__name__)
_IMAGES, _LABELS = "images", "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelExport:
    """What was written.

    Args:
        studies: Rows of the manifest.
        labels: Labels that are not NOT_ASSESSED.
        corrected: Studies with a corrected mask, or without one that was rejected.
        unsigned: Studies that were left out since nobody has signed them off.
        left_out: Study -> why it could not be used.
    """

    studies: int
    labels: int
    corrected: int
    unsigned: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)


def export_labels(room: "ReadingRoom", path: Path, *, unsigned: bool = False) -> LabelExport:
    """Write the manifest, the label file and the folders of corrected studies.

    Args:
        room: The review.
        path: The manifest, a `.csv` file.
        unsigned: Whether readings count that nobody has signed off.

    Raises:
        UsageError: There is nothing to write.
        StorageError: Something could not be written.
    """
    rows: list[ManifestRow] = []
    left_out: dict[str, str] = {}
    n_corrected = n_unsigned = 0
    for study in study_reviews(room):
        readings = [one for one in study.readings.values() if unsigned or one.signed is not None]
        readings = [one for one in readings if one.decisions]
        if not readings:
            n_unsigned += any(one.decisions for one in study.readings.values())
            continue
        try:
            row, corrected = _row(room, study, readings, path)
        except (StudyError, UsageError) as error:
            left_out[study.study_instance_uid] = str(error)
            continue
        n_corrected += corrected
        rows.append(row)
    if not rows:
        raise UsageError(_nothing(n_unsigned, left_out))
    findings = _order(room.findings, rows)
    nothing = dict.fromkeys(findings, LabelValue.NOT_ASSESSED)
    rows = [dataclasses.replace(row, labels=nothing | dict(row.labels)) for row in rows]
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, rows)
    if findings:
        labels = {row.study_instance_uid: row.labels for row in rows}
        write_labels(path.with_suffix(".labels.csv"), "study_instance_uid", labels, Provenance.READER)
    return LabelExport(
        studies=len(rows),
        labels=sum(value is not LabelValue.NOT_ASSESSED for row in rows for value in row.labels.values()),
        corrected=n_corrected,
        unsigned=n_unsigned,
        left_out=left_out,
    )


def consensus(values: Iterable[LabelValue]) -> LabelValue:
    """What several readers hold to be right: the most frequent value, UNCERTAIN where two are equally frequent."""
    ranked = Counter(values).most_common(2)
    if not ranked:
        return LabelValue.NOT_ASSESSED
    is_even = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    return LabelValue.UNCERTAIN if is_even else ranked[0][0]


def _row(room: "ReadingRoom", study: StudyReview, readings: Sequence[Reading], path: Path) -> tuple[ManifestRow, bool]:
    """The row of a study, and whether its masks are not those that it came with."""
    found = room.study(study.study_instance_uid)
    labels, targets = _labels(study, readings), _targets(readings)
    masks, changed = _masks(room, found, readings)
    if not changed:
        return row_of(found, _root(room, found), labels, targets), False
    folder = path.with_suffix(".studies") / study.study_instance_uid
    _lay_out(found, masks, folder)
    again = scan_tree(folder, cache=None).studies
    if len(again) != 1:
        raise StudyError("the study with its corrected mask is not found as one study; look at its images")
    row = row_of(again[0], folder, labels, targets)
    return dataclasses.replace(row, patient_key=found.patient_key, accession_number=found.accession_number), True


def _labels(study: StudyReview, readings: Sequence[Reading]) -> dict[str, LabelValue]:
    said: dict[str, list[LabelValue]] = {}
    for review in _decisions(readings, SubjectKind.FINDING):
        value = study.value_of(review)
        if value is not None and review.subject:
            said.setdefault(review.subject, []).append(value)
    return {finding: consensus(values) for finding, values in said.items()}


def _targets(readings: Sequence[Reading]) -> dict[str, str | float]:
    """What the last reader gave for each target."""
    return {r.subject: r.value for r in _decisions(readings, SubjectKind.TARGET) if r.subject and r.value}


def _decisions(readings: Sequence[Reading], kind: SubjectKind) -> list[Review]:
    """The standing decisions of a kind, by the time of deciding."""
    found = [review for one in readings for review in one.decisions.values() if review.subject_kind is kind]
    return sorted(found, key=lambda review: review.number)


def _masks(room: "ReadingRoom", study: Study, readings: Sequence[Reading]) -> tuple[tuple[Path, ...], bool]:
    """The masks that stand, and whether they are not those that the study came with."""
    decisions = sorted((r for one in readings for r in one.decisions.values()), key=lambda review: review.number)
    corrected = [review.mask_sha256 for review in decisions if review.mask_sha256]
    if corrected:
        return (room.masks.path(corrected[-1]),), True
    last = {review.delineation: review.verdict for review in decisions if review.delineation}
    rejected = {name for name, verdict in last.items() if verdict is Verdict.REJECTED}
    kept = tuple(one.path for one in delineations_of(study) if one.id not in rejected)
    return kept, len(kept) < len(study.segmentations)


def _lay_out(study: Study, masks: Sequence[Path], folder: Path) -> None:
    """A folder that a scan finds as the study with these masks and no others."""
    is_nifti = any(series.is_nifti for series in study.series)
    with whole_folder(folder) as partial:
        (partial / _IMAGES).mkdir()
        files = list(dict.fromkeys(file for series in study.series for file in series.files))
        for number, file in enumerate(files):
            name = _nifti_name(number, file) if is_nifti else f"{number:06d}"
            _link(file, partial / _IMAGES / name)
        for number, report in enumerate(study.reports):
            (partial / _IMAGES / f"{number:06d}.txt").write_text(report.text, encoding="utf-8")
        (partial / _LABELS).mkdir()
        for number, mask in enumerate(masks):
            name = _nifti_name(number, mask) if is_nifti else f"{number:06d}{''.join(mask.suffixes[-2:])}"
            _link(mask, partial / _LABELS / name)


def _nifti_name(number: int, file: Path) -> str:
    """A name by which an image and its mask are found to belong together."""
    return f"{number:06d}.nii.gz" if file.name.endswith(".gz") else f"{number:06d}.nii"


def _link(file: Path, place: Path) -> None:
    """Link a file, or copy it where the system allows no links."""
    try:
        place.symlink_to(file.resolve())
    except OSError:
        shutil.copyfile(file, place)


def _root(room: "ReadingRoom", study: Study) -> Path:
    """What to scan to find a study again: its folder, or for one file what lies around it."""
    return room.place if room.holds_studies else study.path.parent


def _order(known: Sequence[str], rows: Sequence[ManifestRow]) -> tuple[str, ...]:
    """The findings that anybody decided on: those of the model first, then the readers' own."""
    decided = dict.fromkeys(name for row in rows for name in row.labels)
    return (*(name for name in known if name in decided), *(name for name in decided if name not in known))


def _nothing(n_unsigned: int, left_out: Mapping[str, str]) -> str:
    if n_unsigned:
        return f"{n_unsigned} reviewed studies are not signed off; sign them off, or give --unsigned"
    if left_out:
        return f"none of the {len(left_out)} reviewed studies can be used; the first: {next(iter(left_out.values()))}"
    return "nobody has decided anything yet, so there are no labels to write"
