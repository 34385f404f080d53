"""BIDS, the Brain Imaging Data Structure: `sub-<id>/[ses-<id>/]<datatype>/<entities>_<suffix>.nii.gz`.

Gorgolewski et al. 2016, Scientific Data 3, 160044; the specification's sections on file names, the inheritance
principle, derivatives and phenotypic data. A session of a subject is one study. Volumes of `anat`, `ct` and `pet`
(and of the `mod-*` folders of MIDS, its extension by BIMCV) become series; functional, diffusion and other files are
counted. Delineations are the `_mask` and `_dseg` files of the derivatives that lie in the subject's own space.

`participants.tsv` describes people (age, sex): it stays data. Findings come from `phenotype/*.tsv`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfuse.domain import Acquisition, LabelValue, Modality, Series, Study, pseudonym
from medfuse.errors import ManifestError, UsageError
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import glance, read_json, series_or_problem, visible
from medfuse.ingest.importers.tables import Row, given, label_columns, labels_of, read_rows
from medfuse.ingest.labels import Labels, label_value
from medfuse.ingest.nifti import is_nifti_name, nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_MODALITIES = {"anat": Modality.MR, "ct": Modality.CT, "pet": Modality.PT}
_MASK_SUFFIXES = frozenset({"mask", "dseg", "roi"})
_NO_VOLUME = frozenset({"defacemask", "probseg", *_MASK_SUFFIXES})
_OWN_SPACES = frozenset({"", "orig", "individual", "scanner", "native", "t1w", "t2w", "flair"})
_DESCRIBING = ("ce", "acq", "rec", "part", "echo", "inv", "run")
_PEOPLE = frozenset({"age", "sex", "gender", "handedness", "hand", "site", "scanner", "race", "ethnicity"})
_KEYS = ("participant_id", "session_id")
_ID = re.compile(r"sub-[0-9A-Za-z]+")


@IMPORTERS.register("bids")
class BIDS(Importer):
    """A raw BIDS data set with its derivatives and phenotypes."""

    name = "bids"

    def matches(self, root: Path) -> bool:
        """Whether `dataset_description.json` says BIDS, or a subject has a datatype folder."""
        subjects = [entry for entry in glance(root) if _ID.fullmatch(entry.name) and entry.is_dir()]
        if not subjects:
            return False
        if (root / "dataset_description.json").is_file():
            return True
        looked_at = (folder for subject in subjects[:3] for _, folder in _datatypes(root / subject.name))
        return any(_modality(folder) is not None for folder in looked_at)

    def studies(self, root: Path) -> ScanResult:
        """One study a session of a subject, or a subject without sessions."""
        skipped: Counter[str] = Counter()
        dataset = _dataset_name(root)
        masks = _masks(root, skipped)
        studies = []
        for subject in _subjects(root):
            folders = list(_datatypes(subject, skipped))
            for session in dict.fromkeys(session for session, _ in folders):
                places = [folder for name, folder in folders if name == session]
                of_study = masks.get((subject.name, session), [])
                studies.append(_study(root, dataset, subject.name, session, places, of_study, skipped))
        return ScanResult(studies=tuple(studies), skipped_files=dict(sorted((+skipped).items())))

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """The columns of `phenotype/*.tsv` that hold nothing but label values."""
        folder = root / "phenotype"
        tables = {path: [row for _, row in read_rows(path)] for path in visible(folder) if path.suffix == ".tsv"}
        columns = {path: _findings(rows) for path, rows in tables.items()}
        repeated = Counter(name for names in columns.values() for name in names)
        found: dict[str, dict[str, LabelValue]] = {}
        for path, rows in tables.items():
            if rows and "participant_id" not in rows[0]:
                raise ManifestError(f"{path}: lacks the column participant_id; found {', '.join(rows[0])}")
            names = {name: name if repeated[name] == 1 else f"{path.stem}_{name}" for name in columns[path]}
            for study in studies:
                for row in rows:
                    if _is_of(row, study.accession_number):
                        values = {names[name]: label_value(given(row, name)) for name in names}
                        found.setdefault(study.study_instance_uid, {}).update(
                            {name: value for name, value in values.items() if value is not None}
                        )
        return labels_of(folder, found)


@dataclass(frozen=True, slots=True)
class Name:
    """A BIDS file name in its parts."""

    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""

    @classmethod
    def of(cls, stem: str) -> "Name":
        """The parts of a name without its ending."""
        *pairs, suffix = stem.split("_")
        return cls({key: value for key, _, value in (pair.partition("-") for pair in pairs)}, suffix)

    def applies_to(self, other: "Name") -> bool:
        """Whether a sidecar of this name holds for a file of the other: the inheritance principle."""
        return self.suffix == other.suffix and self.entities.items() <= other.entities.items()


def mask_names(path: Path) -> Mapping[int, str]:
    """What the numbers of a BIDS label map mean; empty for a file that is none."""
    name = Name.of(nifti_stem(path))
    if "sub" not in name.entities or name.suffix not in _MASK_SUFFIXES:
        return {}
    if name.suffix != "dseg":
        return {1: name.entities.get("label") or name.entities.get("desc") or name.suffix}
    for folder in (path.parent, *list(path.parents)[1:5]):
        for table in visible(folder):
            if table.suffix == ".tsv" and Name.of(table.stem).applies_to(name):
                return _lookup(table)
    return {}


def _lookup(table: Path) -> dict[int, str]:
    try:
        rows = [row for _, row in read_rows(table, required=("index", "name"))]
    except ManifestError:
        return {}
    named = [(row["index"], row["name"]) for row in rows if row["index"].isascii() and row["index"].isdecimal()]
    return {int(index): name for index, name in named if name and 1 <= int(index) <= 255}


def _subjects(root: Path) -> list[Path]:
    return [path for path in visible(root) if _ID.fullmatch(path.name) and path.is_dir()]


def _datatypes(subject: Path, skipped: Counter[str] | None = None) -> Iterator[tuple[str, Path]]:
    """(session or empty, folder) of each datatype of a subject."""
    for entry in visible(subject, skipped):
        if entry.is_dir() and entry.name.startswith("ses-"):
            yield from ((entry.name, folder) for folder in visible(entry, skipped) if folder.is_dir())
        elif entry.is_dir():
            yield "", entry


def _modality(folder: Path) -> Modality | None:
    return Modality.OTHER if folder.name.startswith("mod-") else _MODALITIES.get(folder.name)


def _dataset_name(root: Path) -> str:
    try:
        described = read_json(root / "dataset_description.json")
    except UsageError:
        return root.name
    return str(described.get("Name") or root.name) if isinstance(described, dict) else root.name


def _masks(root: Path, skipped: Counter[str]) -> dict[tuple[str, str], list[Path]]:
    """(subject, session) -> the delineations of all pipelines in the subject's own space."""
    found: dict[tuple[str, str], list[Path]] = {}
    for pipeline in visible(root / "derivatives", skipped):
        for subject in _subjects(pipeline):
            for session, folder in _datatypes(subject, skipped):
                for path in visible(folder, skipped):
                    name = Name.of(nifti_stem(path))
                    if not is_nifti_name(path) or name.suffix not in _MASK_SUFFIXES:
                        skipped["DERIVATIVE"] += 1
                    elif name.entities.get("space", "").casefold() not in _OWN_SPACES:
                        skipped["OTHER_SPACE"] += 1
                    else:
                        found.setdefault((subject.name, session), []).append(path)
    return found


def _study(
    root: Path,
    dataset: str,
    subject: str,
    session: str,
    places: Sequence[Path],
    masks: Sequence[Path],
    skipped: Counter[str],
) -> Study:
    case = f"{subject}_{session}" if session else subject
    problems: list[str] = []
    series: list[Series] = []
    masks = list(masks)
    for folder in places:
        modality = _modality(folder)
        for path in visible(folder, skipped):
            name = Name.of(nifti_stem(path))
            if not is_nifti_name(path):
                skipped["OTHER_FILE"] += path.suffix != ".json"
            elif modality is None:
                skipped["OTHER_DATATYPE"] += 1
            elif name.suffix in _MASK_SUFFIXES:
                masks.append(path)
            elif name.suffix in _NO_VOLUME:
                skipped["OTHER_FILE"] += 1
            else:
                series += series_or_problem(
                    path,
                    problems,
                    uid_parts=("bids", dataset, nifti_stem(path)),
                    modality=Modality.CT if name.suffix.lower() == "ct" else modality,
                    description=_description(name),
                    number=len(series) + 1,
                    acquisition=_acquisition(_sidecar(root, path, name), name),
                )
    return Study(
        study_instance_uid=made_uid("bids", dataset, case),
        patient_key=pseudonym(subject),
        accession_number=case,
        path=root,
        series=tuple(series),
        segmentations=tuple(masks),
        problems=tuple(problems),
    )


def _description(name: Name) -> str:
    """The suffix, then what tells it from other files of that suffix, e.g. `T1w ce-gadolinium run-2`."""
    told = (f"{key}-{name.entities[key]}" for key in _DESCRIBING if key in name.entities)
    return " ".join((name.suffix, *told))


def _sidecar(root: Path, path: Path, name: Name) -> dict[str, Any]:
    """The JSON beside and above a file, the nearest last; what cannot be read says nothing."""
    folders = [folder for folder in path.parents if folder == root or folder.is_relative_to(root)]
    found: dict[str, Any] = {}
    for folder in reversed(folders):
        for sidecar in visible(folder):
            if sidecar.suffix == ".json" and Name.of(sidecar.stem).applies_to(name):
                try:
                    content = read_json(sidecar)
                except UsageError:
                    continue
                found.update(content if isinstance(content, dict) else {})
    return found


def _acquisition(sidecar: Mapping[str, Any], name: Name) -> Acquisition:
    def text(*keys: str) -> str:
        return next((str(sidecar[key]) for key in keys if isinstance(sidecar.get(key), str | int | float)), "")

    def milliseconds(key: str) -> float | None:
        return _number(sidecar.get(key), 1000.0)

    image_type = sidecar.get("ImageType")
    return Acquisition(
        thickness_mm=_number(sidecar.get("SliceThickness"), 1.0),
        image_type=tuple(str(word).upper() for word in image_type) if isinstance(image_type, list) else (),
        protocol=text("ProtocolName"),
        body_part=text("BodyPartExamined", "BodyPart"),
        kernel=text("ConvolutionKernel"),
        contrast=name.entities.get("ce", "") or text("ContrastBolusIngredient", "ContrastBolusAgent"),
        sequence=" ".join(part for part in (text("ScanningSequence"), text("SequenceName")) if part),
        echo_time_ms=milliseconds("EchoTime"),
        repetition_time_ms=milliseconds("RepetitionTime"),
        inversion_time_ms=milliseconds("InversionTime"),
        manufacturer=text("Manufacturer"),
    )


def _number(value: object, factor: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(float(value) * factor, 6) if is_number and isinstance(value, int | float) else None


def _findings(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(name for name in label_columns(rows, _KEYS) if name.casefold() not in _PEOPLE)


def _is_of(row: Row, case: str) -> bool:
    """Whether a row is about a study; a row without a session is about all sessions of the subject."""
    subject, _, session = case.partition("_")
    told = [
        f"{prefix}{row.get(key, '').removeprefix(prefix)}" for key, prefix in zip(_KEYS, ("sub-", "ses-"), strict=True)
    ]
    return told[0] == subject and (given(row, "session_id") == "" or told[1] == session)
