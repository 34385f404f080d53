"""Corrected segmentations as files named by the hash of their content, so that a decision says exactly which one it is.

`segmentations/<sha256>.dcm` for DICOM sources, `.nii.gz` for NIfTI sources and for grids that no DICOM SEG can have (an
upright grid made of a tilted stack). A file is whole before its hash stands in a decision, and is never changed.
"""

import hashlib
import re
import secrets
from pathlib import Path

from medfuse.domain import ModelIdentity, Segmentation, Series
from medfuse.errors import StudyError, UsageError
from medfuse.storage import storage

_SUFFIXES = (".dcm", ".nii.gz")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class MaskStore:
    """The corrected segmentations of one review.

    Args:
        folder: Where they lie; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a segmentation lies.

        Raises:
            UsageError: There is none of this hash.
        """
        if _SHA256.fullmatch(sha256):
            for suffix in _SUFFIXES:
                path = self.folder / f"{sha256}{suffix}"
                if path.is_file():
                    return path
        raise UsageError("no corrected segmentation of this hash is kept; save the segmentation first")

    def save(
        self,
        segmentation: Segmentation,
        series: Series,
        *,
        reviewer: str,
        predecessor: Path | None,
        model: ModelIdentity | None,
    ) -> str:
        """Keep a corrected segmentation; gives the hash of its file.

        Args:
            segmentation: On the grid of the series.
            series: What it was drawn on.
            reviewer: Who drew it.
            predecessor: The DICOM SEG that it corrects; None for none.
            model: Whose segmentation it corrects; None for none.

        Raises:
            StorageError: It could not be written.
            StudyError: The headers of the series can no longer be read.
        """
        with storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        written = None
        if not series.is_nifti:
            written = self._as_dicom(segmentation, series, reviewer, predecessor, model)
        return self._named_by_content(written or self._as_nifti(segmentation))

    def _as_dicom(
        self,
        segmentation: Segmentation,
        series: Series,
        reviewer: str,
        predecessor: Path | None,
        model: ModelIdentity | None,
    ) -> Path | None:
        """The file of a DICOM SEG; None where the grid is not that of the source images."""
        from medfuse.ingest import source_datasets
        from medfuse.outputs import write_edited_segmentation
        from medfuse.outputs.source_grid import SourceGridError

        path = self._aside(".dcm")
        try:
            write_edited_segmentation(
                segmentation,
                source_datasets(series),
                path,
                reviewer=reviewer,
                predecessor=predecessor,
                model=model,
            )
        except SourceGridError:
            return None
        return path

    def _as_nifti(self, segmentation: Segmentation) -> Path:
        from medfuse.outputs import write_nifti

        path = self._aside(".nii.gz")
        write_nifti(segmentation, path)
        return path

    def _aside(self, suffix: str) -> Path:
        return self.folder / f".{secrets.token_hex(8)}.partial{suffix}"

    def _named_by_content(self, written: Path) -> str:
        sha256 = file_sha256(written)
        suffix = next(suffix for suffix in _SUFFIXES if written.name.endswith(suffix))
        with storage(written):
            written.replace(self.folder / f"{sha256}{suffix}")
        return sha256

    def broken(self, sha256s: frozenset[str]) -> tuple[str, ...]:
        """Those of the hashes whose file is missing or holds something else, sorted."""
        return tuple(sorted(sha256 for sha256 in sha256s if not self._is_whole(sha256)))

    def _is_whole(self, sha256: str) -> bool:
        try:
            return file_sha256(self.path(sha256)) == sha256
        except (UsageError, StudyError, OSError):
            return False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
