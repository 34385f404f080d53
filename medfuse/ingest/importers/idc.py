"""Download trees of the NCI Imaging Data Commons: `<collection>/<patient>/<study UID>/<modality>_<series UID>/`.

Fedorov et al. 2023, RadioGraphics 43(12), e230180. That is the default folder template of `idc-index`. Files are plain
DICOM named by their IDC identifiers, and analysis results (SEG, RTSTRUCT, SR) lie beside the images that they are
about, so reading by content finds everything. The importer adds what only the tree says: a series folder without a
file in it is a download that broke off.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import look_down, visible
from medfuse.ingest.scan import ScanResult, scan_tree

_SERIES = re.compile(r"[A-Z]{2,12}_(?:\d+\.)+\d+")
_DEPTH = 4
_LOOKED_AT = 24


@IMPORTERS.register("idc")
class IDC(Importer):
    """What `idc download` writes, from the folder above the collections down to that of one study."""

    name = "idc"

    def matches(self, root: Path) -> bool:
        """Whether one of the first folders at most four levels down is named `CT_1.2.3` in the one of its study."""
        return is_idc_tree(root)

    def studies(self, root: Path) -> ScanResult:
        """The studies as found by content, with a problem for each series whose folder is empty."""
        found = scan_tree(root)
        empty: dict[str, list[str]] = defaultdict(list)
        for folder in _series_folders(root):
            if not visible(folder):
                empty[folder.parent.name].append(f"SERIES_EMPTY: {folder.name} holds no file; download it again")
        studies = tuple(
            replace(study, problems=(*study.problems, *empty[study.study_instance_uid])) for study in found.studies
        )
        return replace(found, studies=studies)


def is_idc_tree(root: Path) -> bool:
    """Whether `root` is a download tree of the Imaging Data Commons."""
    looked_at = look_down(root, depth=_DEPTH - 1, most=_LOOKED_AT)
    return any(_SERIES.fullmatch(entry.name) and entry.is_dir() for _, entries in looked_at for entry in entries)


def _series_folders(root: Path, *, depth: int = _DEPTH) -> Iterator[Path]:
    for folder in visible(root):
        if _SERIES.fullmatch(folder.name) and folder.is_dir():
            yield folder
        elif depth > 1 and folder.is_dir():
            yield from _series_folders(folder, depth=depth - 1)
