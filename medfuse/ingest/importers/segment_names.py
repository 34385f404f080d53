"""What the numbers of a NIfTI label map mean, by what stands beside it.

A NIfTI file has no place for names. Data sets keep them in `dataset.json` (Decathlon, nnU-Net), in a `dseg.tsv` or the
file name (BIDS), in the file name alone (TotalSegmentator), or in their papers (BraTS).
"""

from collections.abc import Mapping
from pathlib import Path

from medfuse.errors import UsageError
from medfuse.ingest.importers.bids import mask_names
from medfuse.ingest.importers.brats import region_names
from medfuse.ingest.importers.files import read_json
from medfuse.ingest.importers.lidc_nodules import is_nodule_mask
from medfuse.ingest.importers.nnunet import regions_of
from medfuse.ingest.importers.totalsegmentator import class_name


def segment_names(path: Path) -> dict[int, str]:
    """Number -> name, as far as something near the file states it; never raises.

    Args:
        path: The label map. Numbers without a name are for the caller to call by their number.
    """
    described = path.parent.parent / "dataset.json"
    if described.is_file():
        return _described(described)
    if (name := class_name(path)) is not None:
        return {1: name}
    if is_nodule_mask(path):
        return {1: "nodule"}
    return dict(region_names(path)) or dict(mask_names(path))


def _described(path: Path) -> dict[int, str]:
    """Names of a Decathlon (`{"1": "Anterior"}`) or nnU-Net (`{"Anterior": 1}`) description."""
    try:
        table = read_json(path)
    except UsageError:
        return {}
    labels = table.get("labels") if isinstance(table, dict) else None
    if not isinstance(labels, Mapping):
        return {}
    if labels and all(isinstance(key, str) and key.isdecimal() for key in labels):
        return {int(number): str(name) for number, name in labels.items() if 1 <= int(number) <= 255}
    return regions_of(labels)
