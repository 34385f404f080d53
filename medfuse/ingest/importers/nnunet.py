"""nnU-Net's raw layout: `DatasetNNN_Name/{dataset.json,imagesTr,labelsTr,imagesTs}`, one file a channel.

Isensee et al. 2021, "nnU-Net", Nature Methods 18; the keys are those of version 2's documentation. `case_0000.nii.gz`
is the first channel of `case`, named by `channel_names` (`modality` in version 1); `labelsTr/case.nii.gz` is its label
map. A `dataset` table in `dataset.json` may list the files of each case in place of the folders.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medfuse.domain import Series, Study, pseudonym
from medfuse.errors import UsageError
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.brats import patient_of_case
from medfuse.ingest.importers.decathlon import is_nnunet, is_set_of_images, modality_of
from medfuse.ingest.importers.files import read_json, series_or_problem, visible
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_READABLE = (".nii.gz", ".nii")
_FOLDERS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))


@IMPORTERS.register("nnunet")
class NNUNet(Importer):
    """Raw data sets of nnU-Net, version 2 and 1."""

    name = "nnunet"

    def matches(self, root: Path) -> bool:
        """Whether `dataset.json` names channels, or the images of a Decathlon table are named by channel."""
        return is_set_of_images(root) and is_nnunet(root)

    def studies(self, root: Path) -> ScanResult:
        """One study a case, training cases first; channels that are not there are problems of the study.

        Raises:
            UsageError: `dataset.json` cannot be read, or its files are none that medfuse reads.
        """
        path = root / "dataset.json"
        table = read_json(path)
        channels = _channels(table, path)
        ending = _ending(table, path)
        skipped: Counter[str] = Counter()
        studies = [
            _study(root, str(table.get("name") or root.name), channels, case, files, label)
            for case, files, label in _cases(root, table, ending, skipped)
        ]
        if not studies:
            raise UsageError(f"{root}: holds no images that end in _0000{ending}")
        return ScanResult(studies=tuple(studies), skipped_files=dict(sorted((+skipped).items())))


def regions_of(labels: Mapping[str, Any]) -> dict[int, str]:
    """Number -> name, for the numbers that one label, or one region of a single number, names alone.

    Regions that join several numbers (`"whole tumor": [1, 2, 3]`) overlap, which a label map does not: numbers that
    only stand in such regions have no name of their own.
    """
    names: dict[int, str] = {}
    for name, value in labels.items():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) == 1 and isinstance(numbers[0], int) and 1 <= numbers[0] <= 255:
            names.setdefault(numbers[0], str(name))
    return names


def _channels(table: Any, path: Path) -> dict[int, str]:
    """Index -> name of each channel."""
    named = table.get("channel_names", table.get("modality")) if isinstance(table, dict) else None
    if not isinstance(named, dict) or not named or not all(str(key).isdecimal() for key in named):
        raise UsageError(f'{path}: key channel_names is missing or no table; expected e.g. {{"0": "T1"}}')
    return {int(key): str(name) for key, name in sorted(named.items(), key=lambda item: int(item[0]))}


def _ending(table: Mapping[str, Any], path: Path) -> str:
    ending = str(table.get("file_ending", ".nii.gz"))
    if ending not in _READABLE:
        raise UsageError(f"{path}: file_ending is {ending}; medfuse reads {' and '.join(_READABLE)}: convert the files")
    return ending


def _cases(
    root: Path, table: Mapping[str, Any], ending: str, skipped: Counter[str]
) -> list[tuple[str, dict[int, Path], Path | None]]:
    """Case name, files by channel, and label map: of the table `dataset`, and of the folders."""
    cases: list[tuple[str, dict[int, Path], Path | None]] = []
    listed = table.get("dataset")
    if isinstance(listed, dict):
        for case, entry in listed.items():
            images = entry.get("images") if isinstance(entry, dict) else None
            if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
                raise UsageError(f"{root / 'dataset.json'}: dataset.{case} lists no images")
            label = entry.get("label")
            places = {n: _inside(root, image) for n, image in enumerate(images)}
            cases.append((str(case), places, _inside(root, label) if isinstance(label, str) else None))
    for images_folder, labels_folder in _FOLDERS[1:] if cases else _FOLDERS:
        cases += _of_folder(root / images_folder, root / labels_folder, ending, skipped)
    return cases


def _of_folder(
    images: Path, labels: Path, ending: str, skipped: Counter[str]
) -> list[tuple[str, dict[int, Path], Path | None]]:
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in visible(images, skipped):
        case, _, channel = path.name.removesuffix(ending).rpartition("_")
        if path.name.endswith(ending) and case and len(channel) == 4 and channel.isdecimal():
            found[case][int(channel)] = path
        else:
            skipped["OTHER_FILE"] += 1
    maps = {path.name.removesuffix(ending): path for path in visible(labels, skipped) if path.name.endswith(ending)}
    skipped["LABEL_WITHOUT_IMAGE"] += len(set(maps) - set(found))
    of_training = images.name == "imagesTr"
    missing = {case: labels / f"{case}{ending}" if of_training else None for case in found}
    return [(case, files, maps.get(case, missing[case])) for case, files in sorted(found.items())]


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{root / 'dataset.json'}: names a file outside of its folder: {relative}")
    return path


def _study(
    root: Path, dataset: str, channels: Mapping[int, str], case: str, files: Mapping[int, Path], label: Path | None
) -> Study:
    problems: list[str] = []
    series: list[Series] = []
    for number, name in channels.items():
        if number not in files:
            problems.append(f"IMAGE_MISSING: {case} has no channel {number:04d} ({name})")
            continue
        series += series_or_problem(
            files[number],
            problems,
            uid_parts=("nnunet", dataset, case, str(number)),
            modality=modality_of(name),
            description=name,
            number=number + 1,
        )
    extra = sorted(set(files) - set(channels))
    if extra:
        problems.append(f"CHANNEL_MISMATCH: {case} has channels {extra}, which dataset.json does not name")
    if label is not None and not label.is_file():
        problems.append(f"LABEL_MISSING: {label.parent.name}/{label.name}")
        label = None
    return Study(
        study_instance_uid=made_uid("nnunet", dataset, case),
        patient_key=pseudonym(patient_of_case(case)),
        accession_number=case,
        path=root,
        series=tuple(series),
        segmentations=(label,) if label else (),
        problems=tuple(problems),
    )
