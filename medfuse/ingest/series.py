"""One door to the voxels of a series, whatever its files are."""

from medfuse.domain import Series, Volume
from medfuse.ingest.dicom.assemble import read_dicom_volume
from medfuse.ingest.nifti import read_nifti


def read_volume(series: Series) -> Volume:
    """Read a series as one volume: voxels `(columns, rows, slices)`, LPS mm, CT in HU.

    Raises:
        UnreadableSeriesError: The series cannot become a volume; `reason` is a stable code.
    """
    if series.is_nifti:
        return read_nifti(series.files[0], channel=series.channel, modality=series.modality)
    return read_dicom_volume(series)
