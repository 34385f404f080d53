"""Files -> domain records: find studies, read volumes, segmentations and reports, keep manifests.

pydicom, nibabel and highdicom are met here (and where medfuse writes), and nowhere behind: what leaves this package
is LPS millimetres, HU, and plain text.
"""

from medfuse.ingest.dicom.assemble import source_datasets
from medfuse.ingest.dicom.objects import read_segmentation
from medfuse.ingest.labels import Labels, join_labels, read_labels
from medfuse.ingest.manifest import ManifestRow, read_manifest, row_of, study_of, write_manifest
from medfuse.ingest.nifti import write_nifti
from medfuse.ingest.reports.mention import Mention, mentions
from medfuse.ingest.reports.reading import parse_report, read_report, read_reports
from medfuse.ingest.scan import ScanResult, find_studies
from medfuse.ingest.series import read_volume

__all__ = [
    "Labels",
    "ManifestRow",
    "Mention",
    "ScanResult",
    "find_studies",
    "join_labels",
    "mentions",
    "parse_report",
    "read_labels",
    "read_manifest",
    "read_report",
    "read_reports",
    "read_segmentation",
    "read_volume",
    "row_of",
    "source_datasets",
    "study_of",
    "write_manifest",
    "write_nifti",
]
