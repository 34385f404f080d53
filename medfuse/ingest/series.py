"""One door to the voxels of a series, whatever its files are."""

from medfuse.domain import Series, Volume
from medfuse.ingest.dicom.assemble import air_value, read_dicom_volume
from medfuse.ingest.dicom.tilt import make_upright
from medfuse.ingest.nifti import read_nifti_series


def read_volume(series: Series, *, upright: bool = True, fill_gaps: bool = False) -> Volume:
    """Read a series as one volume: voxels `(columns, rows, slices)`, LPS mm, CT in HU, PET in SUV.

    Args:
        series: The series, or the part of it that `series.part` names.
        upright: Whether a sheared stack (a tilted gantry) is resampled to an upright grid, as the provenance then says;
            otherwise its voxels are given on the sheared grid, untouched.
        fill_gaps: Whether missing slices are interpolated linearly, as the provenance then says; otherwise they are
            refused.

    Raises:
        UnreadableSeriesError: The series cannot become a volume; `reason` is a stable code.
    """
    if not series.is_nifti:
        return read_dicom_volume(series, upright=upright, may_fill=fill_gaps)
    volume = read_nifti_series(series)
    return make_upright(volume, outside=air_value(series.modality)) if upright else volume
