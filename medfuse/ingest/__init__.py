"""Files -> domain records: find studies, read volumes, segmentations and reports, keep manifests.

pydicom, nibabel and highdicom are met here (and where medfuse writes), and nowhere behind: what leaves this package
is LPS millimetres, HU, and plain text.
"""

from medfuse.ingest.dicom.assemble import source_datasets
from medfuse.ingest.dicom.objects import read_segmentation
from medfuse.ingest.nifti import write_nifti
from medfuse.ingest.scan import ScanResult, find_studies
from medfuse.ingest.series import read_volume

__all__ = [
    "ScanResult",
    "find_studies",
    "read_segmentation",
    "read_volume",
    "source_datasets",
    "write_nifti",
]
