"""The Medical Segmentation Decathlon's layout: `dataset.json` with `imagesTr`, `labelsTr` and `imagesTs`.

Antonelli et al. 2022, "The Medical Segmentation Decathlon", Nature Communications 13, 4128. Each case is one study of
one patient. Tasks of several sequences (Task01, Task05) hold them along the fourth axis of one file, in the order of
the table `modality` of `dataset.json`. Archives made on macOS hold `._*` files, which are no images.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medfuse.domain import Modality, Series, Study, pseudonym
from medfuse.errors import UnreadableFileError, UsageError
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import read_json, visible
from medfuse.ingest.nifti import is_nifti_name, nifti_series, nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_MR_WORDS = ("MR", "T1", "T2", "FLAIR", "ADC", "DWI", "SWI", "PD")


@IMPORTERS.register("decathlon")
class Decathlon(Importer):
    """`dataset.json` with a table `modality` and a list `training`, beside `imagesTr`."""

    name = "decathlon"

    def matches(self, root: Path) -> bool:
        """Whether there are `dataset.json` and `imagesTr`, and it is not nnU-Net's."""
        return is_set_of_images(root) and not is_nnunet(root)

    def studies(self, root: Path) -> ScanResult:
        """Every case that `dataset.json` lists; see `find_decathlon_studies`."""
        skipped: Counter[str] = Counter()
        for folder in ("imagesTr", "labelsTr", "imagesTs"):
            visible(root / folder, skipped)
        return ScanResult(studies=find_decathlon_studies(root), skipped_files=dict(+skipped))


def is_set_of_images(root: Path) -> bool:
    """Whether the Decathlon's or nnU-Net's folders are there."""
    return (root / "dataset.json").is_file() and (root / "imagesTr").is_dir()


def is_nnunet(root: Path) -> bool:
    """Whether it is nnU-Net's raw layout: `channel_names` in `dataset.json`, or images named `case_0000`."""
    try:
        table = read_json(root / "dataset.json")
    except UsageError:
        return False
    if isinstance(table, dict) and "channel_names" in table:
        return True
    images = [path for path in visible(root / "imagesTr") if is_nifti_name(path)]
    return bool(images) and all(nifti_stem(path).endswith("_0000") for path in images[:1])


def find_decathlon_studies(root: Path) -> tuple[Study, ...]:
    """Every case that `dataset.json` lists, training cases first, as a study.

    UIDs and patient keys are made from the data set's and the case's name, so they are the same on every machine. The
    accession number is the case's name. What is missing or broken is a line in `Study.problems`; a case without a
    readable image has no series.

    Args:
        root: The folder that holds `dataset.json`.

    Raises:
        UsageError: `dataset.json` cannot be read, lacks a key, or names files outside of `root`.
    """
    table = _read_table(root / "dataset.json")
    name = str(table.get("name") or root.name)
    channels = _channels(table, root / "dataset.json")
    studies: dict[str, Study] = {}
    for image, label in _cases(root, table):
        study = _study(root, name, channels, image, label)
        if study.study_instance_uid in studies:
            raise UsageError(f"{root / 'dataset.json'}: lists {image.name} twice; keep one entry")
        studies[study.study_instance_uid] = study
    if not studies:
        raise UsageError(f"{root / 'dataset.json'}: lists no case in training or test")
    return tuple(studies.values())


def _read_table(path: Path) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise UsageError(f"{path}: found a {type(table).__name__}, expected an object with modality and training")
    return table


def _channels(table: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The names of the sequences in the order of the fourth axis."""
    modality = table.get("modality", table.get("channel_names"))
    if not isinstance(modality, dict) or not modality:
        raise UsageError(f'{path}: key modality is missing or no table; expected e.g. {{"0": "MRI"}}')
    if sorted(modality) != sorted(str(n) for n in range(len(modality))):
        raise UsageError(f"{path}: the keys of modality are {sorted(modality)}, expected 0 to {len(modality) - 1}")
    return tuple(str(modality[str(n)]) for n in range(len(modality)))


def _cases(root: Path, table: dict[str, Any]) -> Iterator[tuple[Path, Path | None]]:
    """Image and label of each listed case, macOS junk left out."""
    if not isinstance(table.get("training"), list):
        raise UsageError(f"{root / 'dataset.json'}: key training is missing or no list of image and label pairs")
    for section in ("training", "test"):
        entries = table.get(section) or []
        if not isinstance(entries, list):
            raise UsageError(f"{root / 'dataset.json'}: key {section} is no list")
        for number, entry in enumerate(entries):
            pair = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(pair, dict) or not isinstance(pair.get("image"), str):
                raise UsageError(f"{root / 'dataset.json'}: {section}[{number}] names no image")
            image = _inside(root, pair["image"])
            label = _inside(root, pair["label"]) if isinstance(pair.get("label"), str) else None
            if not image.name.startswith("._"):
                yield image, label


def _inside(root: Path, relative: str) -> Path:
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UsageError(f"{root / 'dataset.json'}: names a file outside of its folder: {relative}")
    return _with_suffix_on_disk(root / relative.removeprefix("./"))


def _with_suffix_on_disk(path: Path) -> Path:
    """The same file with or without `.gz`, whichever is there: unpacked archives keep the listed name."""
    twin = path.with_name(path.name.removesuffix(".gz") if path.name.endswith(".gz") else path.name + ".gz")
    return twin if twin.is_file() and not path.is_file() else path


def _study(root: Path, dataset: str, channels: tuple[str, ...], image: Path, label: Path | None) -> Study:
    case = nifti_stem(image)
    problems = []
    if label is not None and not label.is_file():
        problems.append(f"LABEL_MISSING: {label.parent.name}/{label.name}")
        label = None
    try:
        series = _series(image, channels, ("decathlon", dataset, case))
    except UnreadableFileError as error:
        problems.append(f"{error.reason}: {image.parent.name}/{error.detail}")
        series = ()
    return Study(
        study_instance_uid=made_uid("decathlon", dataset, case),
        patient_key=pseudonym(case),
        accession_number=case,
        path=root,
        series=series,
        segmentations=(label,) if label else (),
        problems=tuple(problems),
    )


def _series(image: Path, channels: tuple[str, ...], uid_parts: tuple[str, ...]) -> tuple[Series, ...]:
    """One series a channel, from the header alone."""
    if not image.is_file():
        raise UnreadableFileError(f"{image.name} is listed in dataset.json and not there", reason="IMAGE_MISSING")
    named = tuple((channel, modality_of(channel)) for channel in channels)
    series = nifti_series(image, uid_parts=uid_parts, channels=named)
    if len(series) != len(channels):
        raise UnreadableFileError(
            f"{image.name} holds {len(series)} channel(s), expected {len(channels)} as in dataset.json",
            reason="CHANNEL_MISMATCH",
        )
    return series


def modality_of(channel: str) -> Modality:
    """The modality that the name of a channel says; `OTHER` where it does not."""
    word = channel.upper().strip()
    if word.startswith(_MR_WORDS):
        return Modality.MR
    if word.startswith("CT"):
        return Modality.CT
    return Modality.PT if word.startswith(("PT", "PET")) else Modality.OTHER
