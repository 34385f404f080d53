"""The layout of the Brain Tumor Segmentation challenges: one folder a case, one file a sequence.

Two families of names. 2018 to 2021: `<case>_{flair,t1,t1ce,t2,seg}.nii.gz`, labels 1 (necrotic and non-enhancing
core), 2 (edema), 4 (enhancing tumor). From 2023: `<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz`, labels 1, 2, 3 (enhancing
tumor) and, in post-treatment sets, 4 (resection cavity). All volumes of a case are co-registered, skull-stripped and
resampled to 1 mm by the organisers (Menze et al. 2015, IEEE TMI 34(10); Baid et al. 2021, arXiv 2107.02314; for 2024
de Verdier et al. 2024, arXiv 2405.18368).

`BraTS-GLI-00005-001` is the second time point of patient `BraTS-GLI-00005`: both share the patient's key.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medfuse.domain import Acquisition, LabelValue, Modality, Series, Study, pseudonym
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import look_down, series_or_problem, visible
from medfuse.ingest.importers.tables import labels_of, read_rows
from medfuse.ingest.labels import Labels
from medfuse.ingest.nifti import is_nifti_name, nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_CHANNELS = {
    "t1": "t1",
    "t1n": "t1",
    "t1ce": "t1ce",
    "t1gd": "t1ce",
    "t1c": "t1ce",
    "t2": "t2",
    "t2w": "t2",
    "flair": "flair",
    "t2f": "flair",
}
_ORDER = ("t1", "t1ce", "t2", "flair")
_NAME = re.compile(r"(?P<case>.+)[_-](?P<part>[A-Za-z0-9]+)")
_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+(?:-RT)?-\d{4,5})-\d{3}")
_NEW_STYLE = re.compile(r"BraTS-[A-Za-z]+-")
_MASKS = ("seg", "gtv")
_DEPTH = 4
_LOOKED_AT = 24

_OLD_REGIONS = {1: "necrotic core", 2: "edema", 4: "enhancing tumor"}
_NEW_REGIONS = {1: "necrotic core", 2: "edema", 3: "enhancing tumor", 4: "resection cavity"}


@IMPORTERS.register("brats")
class BraTS(Importer):
    """Case folders of BraTS 2018 to 2021, and of 2023 and later."""

    name = "brats"

    def matches(self, root: Path) -> bool:
        """Whether one of the first folders at or below `root` is a case."""
        looked_at = look_down(root, depth=_DEPTH, most=_LOOKED_AT)
        return any(_is_case(folder.name, [entry.name for entry in entries]) for folder, entries in looked_at)

    def studies(self, root: Path) -> ScanResult:
        """One study a case, with a series for each of `t1`, `t1ce`, `t2` and `flair` that is there."""
        skipped: Counter[str] = Counter()
        studies = [_study(root, folder, skipped) for folder in _case_folders(root)]
        studies.sort(key=lambda study: study.accession_number)
        return ScanResult(studies=tuple(studies), skipped_files=dict(sorted((+skipped).items())))

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """`high_grade`, from the folders `HGG` and `LGG` (2018, 2019) or from `name_mapping.csv` (2019, 2020)."""
        grades = {folder.name: folder.parent.name.upper() for folder in _case_folders(root)}
        tables = [path for path in (*visible(root), *visible(root.parent)) if path.name == "name_mapping.csv"]
        tables += [path for folder in visible(root) for path in visible(folder) if path.name == "name_mapping.csv"]
        for table in tables[:1]:
            for _, row in read_rows(table, required=("Grade",)):
                grades.update({cell: row["Grade"].upper() for cell in row.values() if cell in grades})
        found = {
            study.study_instance_uid: {"high_grade": value}
            for study in studies
            if (value := _GRADES.get(grades.get(study.accession_number, "")))
        }
        return labels_of(tables[0] if tables else root, found)


_GRADES = {"HGG": LabelValue.PRESENT, "LGG": LabelValue.ABSENT}


def patient_of_case(case: str) -> str:
    """What identifies the patient in the name of a case: the name without its time point, where it has one."""
    match = _TIME_POINT.fullmatch(case)
    return match[1] if match else case


def region_names(path: Path) -> Mapping[int, str]:
    """What the numbers of a BraTS label map mean, by the name of its folder or file; empty for another file.

    Paediatric sets changed their numbers between years, so their regions go by number.
    """
    case = next((name for name in (path.parent.name, nifti_stem(path)) if name.casefold().startswith("brats")), "")
    mask = nifti_stem(path).casefold()
    if not case or not any(mask.endswith(part) or "seg" in mask for part in _MASKS):
        return {}
    if mask.endswith("gtv"):
        return {1: "gross tumor volume"}
    if not _NEW_STYLE.match(case):
        return _OLD_REGIONS
    return {} if case.startswith("BraTS-PED") else _NEW_REGIONS


def _case_folders(root: Path, *, depth: int = _DEPTH) -> Iterator[Path]:
    """The folders at or below `root` whose files are named for it."""
    entries = visible(root)
    if _is_case(root.name, [path.name for path in entries]):
        yield root
    elif depth:
        for folder in [path for path in entries if path.is_dir()]:
            yield from _case_folders(folder, depth=depth - 1)


def _is_case(folder: str, names: Sequence[str]) -> bool:
    return sum(_channel(Path(name), folder) is not None for name in names) >= 2


def _channel(path: Path, case: str) -> str | None:
    """`t1`, `t1ce`, `t2` or `flair` where the file is that sequence of the case."""
    match = _NAME.fullmatch(nifti_stem(path)) if is_nifti_name(path) else None
    if match is None or match["case"] != case or not case.casefold().startswith("brats"):
        return None
    return _CHANNELS.get(match["part"].casefold())


def _study(root: Path, folder: Path, skipped: Counter[str]) -> Study:
    case = folder.name
    files = [path for path in visible(folder, skipped) if path.is_file()]
    by_channel = {channel: path for path in files if (channel := _channel(path, case)) is not None}
    masks = [path for path in files if is_nifti_name(path) and _is_mask(path, case)]
    skipped["OTHER_FILE"] += len(files) - len(by_channel) - len(masks)
    problems: list[str] = []
    series: list[Series] = []
    for number, channel in enumerate(_ORDER, start=1):
        if channel not in by_channel:
            problems.append(f"IMAGE_MISSING: {case} has no {channel}")
            continue
        series += series_or_problem(
            by_channel[channel],
            problems,
            uid_parts=("brats", case, channel),
            modality=Modality.MR,
            description=channel,
            number=number,
            acquisition=Acquisition(body_part="BRAIN", contrast="gadolinium" if channel == "t1ce" else ""),
        )
    return Study(
        study_instance_uid=made_uid("brats", case),
        patient_key=pseudonym(patient_of_case(case)),
        accession_number=case,
        path=root,
        series=tuple(series),
        segmentations=tuple(masks),
        problems=tuple(problems),
    )


def _is_mask(path: Path, case: str) -> bool:
    """A delineation: `<case>_seg`, or the one file of BraTS 2020 that kept its working name (`..._Segm.nii`)."""
    stem = nifti_stem(path).casefold()
    return stem.endswith(_MASKS) if stem.startswith(case.casefold()) else stem.endswith(("seg", "segm"))
